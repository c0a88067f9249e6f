"""Images that are there twice: the same file, the same pixels, or nearly so."""

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rtseg.data.findings.finding import CAUTION, FAULT, NOTE, Finding, counted, named, shown, verb
from rtseg.data.findings.looks import ImageLook, MaskLook, Seen

# Of 255 bits. Images of two splits of CamVid, IDD-lite and Imagenette differ in 80 and more. Copies saved again as
# JPEG, resized, blurred, lighter or darker differ in at most 28, cut by 3 % at two sides in 43 to 50 in the median.
NEAR = 60
_FLAT = 4.0  # grey levels of standard deviation; below, the pattern is noise
_SPOILT = 0.01  # of the validation images: from there on the score means something else
_BLOCK = 4096  # images that are compared at once


class _Image(NamedTuple):
    split: str
    file: Path
    look: ImageLook
    mask: MaskLook


def _images(seen: Seen) -> list[_Image]:
    return [
        _Image(split.name, file, image, mask)
        for split in seen.splits
        for file, image, mask in zip(split.image_files, split.images, split.masks, strict=True)
        if image.fault is None
    ]


def twins(seen: Seen) -> Iterator[Finding]:
    """Images of the same pixels: across splits, and within one."""
    by_digest: dict[str, list[_Image]] = defaultdict(list)
    for image in _images(seen):
        by_digest[image.look.digest].append(image)
    groups = [group for group in by_digest.values() if len(group) > 1]
    yield from _across(seen, [group for group in groups if len({image.split for image in group}) > 1])
    for split in seen.splits:
        inside = [some for group in groups if len(some := [one for one in group if one.split == split.name]) > 1]
        if inside:
            extra = [image.file for group in inside for image in group[1:]]
            one, other = inside[0][:2]
            same = os.path.realpath(one.file) == os.path.realpath(other.file)
            yield Finding(
                CAUTION,
                "twins",
                f"{counted(len(extra), f'{split.name} image', len(split.pairs))} {verb(len(extra), 'is', 'are')} there "
                "more than once: "
                f"{shown(other.file)} {'leads to the same file as' if same else 'has the pixels of'} "
                f"{shown(one.file)}; remove it, or it counts double",
                extra,
            )
    differ = [group for group in groups if len({image.mask.digest for image in group if not image.mask.fault}) > 1]
    if differ:
        one = differ[0][0]
        other = next(image for image in differ[0] if image.mask.digest != one.mask.digest)
        yield Finding(
            CAUTION,
            "two masks",
            f"{counted(len(differ), 'image')} that {'is' if len(differ) == 1 else 'are'} there more than once "
            f"{'has' if len(differ) == 1 else 'have'} different masks, such as {shown(one.file)} and "
            f"{shown(other.file)}; keep the right one",
            [image.file for group in differ for image in group],
        )


def _across(seen: Seen, groups: Sequence[Sequence[_Image]]) -> Iterator[Finding]:
    for split in seen.splits[1:]:
        both = [
            (image, first)
            for group in groups
            for image in group
            if image.split == split.name and (first := group[0]).split != split.name
        ]
        if both:
            image, first = both[0]
            share = len(both) / len(split.pairs)
            yield Finding(
                FAULT if share >= _SPOILT else CAUTION,
                "leak",
                f"{counted(len(both), f'{split.name} image', len(split.pairs))} {verb(len(both), 'is', 'are')} in "
                f"{first.split} too, pixel for pixel, such as {_both(image, first)}; take them out of one split, or "
                "the score says nothing about new images",
                [one.file for pair in both for one in pair],
            )


def _both(one: _Image, other: _Image) -> str:
    """The names of two images, or of the one file that they are."""
    return shown(one.file) if one.file == other.file else f"{shown(one.file)} and {shown(other.file)}"


def near_twins(seen: Seen) -> Iterator[Finding]:
    """Images that look alike without being equal: across splits a caution, within one a note."""
    images = [image for image in _images(seen) if image.look.contrast >= _FLAT and image.look.pattern]
    if len(images) < 2:
        return
    patterns = _signs([image.look.pattern for image in images])
    canonical = _signs([image.look.canonical for image in images])
    across: dict[str, list[tuple[_Image, _Image, str]]] = defaultdict(list)
    inside: dict[str, list[tuple[_Image, _Image, str]]] = defaultdict(list)
    for i, j, how in _close(patterns, canonical):
        one, other = images[i], images[j]
        if one.look.digest != other.look.digest:
            (inside if one.split == other.split else across)[other.split].append((one, other, how))
    for name, pairs in across.items():
        latest = {other.file: (one, other, how) for one, other, how in pairs}
        one, other, how = next(iter(latest.values()))
        yield Finding(
            CAUTION,
            "near leak",
            f"{counted(len(latest), f'{name} image')} {verb(len(latest), 'looks', 'look')} like images of another "
            f"split{how}, such as {shown(other.file)} and {shown(one.file)}; look at them, and keep "
            "copies of one picture in one split",
            [file for a, b, _ in latest.values() for file in (a.file, b.file)],
        )
    for name, pairs in inside.items():
        one, other, how = pairs[0]
        files = list(dict.fromkeys(b.file for _, b, _ in pairs))
        yield Finding(
            NOTE,
            "near twins",
            f"{counted(len(files), f'{name} image')} {verb(len(files), 'looks', 'look')} like another one{how}, such "
            f"as {shown(other.file)} and "
            f"{shown(one.file)}; copies of one picture count double ({named(files)})",
            files,
        )


def _signs(patterns: Sequence[str]) -> np.ndarray:
    """(N, 256) of -1 and 1."""
    bits = np.unpackbits(np.array([list(bytes.fromhex(text)) for text in patterns], np.uint8), axis=1)
    return bits.astype(np.float32) * 2 - 1


def _close(patterns: np.ndarray, canonical: np.ndarray) -> Iterator[tuple[int, int, str]]:
    """Pairs i < j whose patterns differ in at most `NEAR` bits, and how the second was changed."""
    least = patterns.shape[1] - 2 * NEAR
    for start in range(0, len(patterns), _BLOCK):
        block = slice(start, start + _BLOCK)
        alike = patterns[block] @ patterns.T >= least
        turned = (canonical[block] @ canonical.T >= least) & ~alike
        for found, how in ((alike, ""), (turned, ", turned or mirrored")):
            for i, j in np.argwhere(found):
                if start + i < j:
                    yield int(start + i), int(j), how
