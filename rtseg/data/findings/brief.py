"""A look at some pairs of a data set, in seconds: what `rtseg fit` does before a training."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from rtseg.data.dataset import SegmentationDataset
from rtseg.data.findings.blended import blended
from rtseg.data.findings.finding import NOTE, Finding
from rtseg.data.findings.forms import other_form, palettes
from rtseg.data.findings.image_look import orientation
from rtseg.data.findings.looks import ImageLook, MaskLook, Seen, Split
from rtseg.data.findings.mask_look import look_at_mask
from rtseg.data.findings.numbers import unknown_values, white_is_a_class
from rtseg.data.findings.occurrence import absent, alone, unlabelled
from rtseg.data.findings.sizes import other_size, turned
from rtseg.data.folder import ColorDecoder
from rtseg.data.header import upright_size

MOST = 500  # pairs of each split
_THREADS = 16  # most wait for the disk
_TOGETHER = 32  # pairs between two looks at the clock


def look_briefly(splits: Sequence[SegmentationDataset], seconds: float = 3.0) -> Seen | None:
    """Looks at the masks of at most 500 pairs of each split, and at the headers of their images.

    Args:
        splits: of one data set, the training images first.
        seconds: for each split; what is looked at is spread over it, however soon the time is up.

    Returns:
        What was seen; None where a data set reads its files in a way of its own.
    """
    first = splits[0]
    meanings = getattr(first.decode, "meanings", None)
    if meanings is None or not all(split.reads_files for split in splits):
        return None
    seen = [_look(split, seconds) for split in splits]
    return Seen(first.pairs[0][0].parent, seen, first.labels, meanings, isinstance(first.decode, ColorDecoder))


def find_briefly(seen: Seen) -> list[Finding]:
    """The findings that masks and headers allow; which classes `train` lacks is told by `rtseg.data.survey`."""
    kinds = (other_size, turned, other_form, palettes, unknown_values, blended, white_is_a_class, alone, unlabelled)
    found = [finding for kind in kinds for finding in kind(seen)]
    later = replace(seen, splits=seen.splits[1:])
    found += [finding for finding in absent(later) if finding.severity != NOTE]
    return sorted(found, key=lambda finding: finding.severity)


def _look(split: SegmentationDataset, seconds: float) -> Split:
    until, chosen = time.monotonic() + seconds, _spread(len(split))
    looks: dict[int, tuple[ImageLook, MaskLook]] = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for start in range(0, len(chosen), _TOGETHER):
            some = chosen[start : start + _TOGETHER]
            looks.update(zip(some, pool.map(lambda k: _look_at(*split.pairs[k]), some), strict=True))
            if time.monotonic() > until:
                break
    order = sorted(looks)
    return Split(
        split.split,
        [split.pairs[k] for k in order],
        [looks[k][0] for k in order],
        [looks[k][1] for k in order],
        len(split),
    )


def _spread(number: int) -> list[int]:
    """At most `MOST` indices; each beginning of the list is spread over all of them."""
    indices = np.unique(np.linspace(0, number - 1, min(number, MOST)).astype(int))
    return [int(k) for k in np.random.default_rng(0).permutation(indices)]


def _look_at(image: Path, mask: Path) -> tuple[ImageLook, MaskLook]:
    size = upright_size(image)
    found = ImageLook(fault="not looked at") if size is None else ImageLook(size=size, turned=orientation(image))
    return found, look_at_mask(mask)
