"""Images under their masks, small enough to travel inside a page."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from rtseg.data.choice import cover
from rtseg.data.findings.finding import Finding, Severity, shown
from rtseg.data.findings.looks import Seen
from rtseg.data.image_space import shown_image
from rtseg.deploy.drawing.overlay import overlay
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.errors import UserError
from rtseg.output.examples import palette_image
from rtseg.studies.check_data.source import Source

SAMPLES, MOST = 12, 24  # images; more only where they show another class
_SUSPECTS = 6  # of the findings
_WIDTH = 480
_QUALITY = 82


class Sample(NamedTuple):
    """An image under its mask: name, data URI, (width, height), and what a finding says of it."""

    name: str
    source: str
    size: tuple[int, int]
    says: str = ""


def samples(source: Source, seen: Seen) -> list[Sample]:
    """Images that together show every class, first those of a split, then those of the next."""
    usable = [
        (split.name, k)
        for split in seen.splits
        for k, (image, mask) in enumerate(zip(split.images, split.masks, strict=True))
        if image.fault is None and split.mask_files[k] in seen.usable and image.size == mask.size
    ]
    if not usable:
        return []
    number = len(seen.labels.names)
    counts = [seen.classes(seen.usable[_pair(seen, *where)[1]]) for where in usable]
    shares = np.stack([found[:number] / max(1, found.sum()) for found in counts])
    chosen = sorted(cover(shares, SAMPLES, MOST))
    return [drawn for row in chosen if (drawn := _drawn(source, *usable[row])) is not None]


def suspects(source: Source, seen: Seen, findings: Sequence[Finding]) -> list[Sample]:
    """The first image of each finding that can be drawn: a look often tells more than a number."""
    where = {path: (split.name, k) for split in seen.splits for k, pair in enumerate(split.pairs) for path in pair}
    found: list[Sample] = []
    for finding in findings:
        if finding.severity != Severity.NOTE and len(found) < _SUSPECTS:
            places = dict.fromkeys(where[file] for file in finding.files[:2] if file in where)
            drawn = [one for place in places if (one := _drawn(source, *place)) is not None]
            found += [one._replace(says=f"{finding.severity.word}: {finding.kind}") for one in drawn]
    return found[:_SUSPECTS]


def _pair(seen: Seen, name: str, k: int) -> tuple[Path, Path]:
    split = next(split for split in seen.splits if split.name == name)
    return split.pairs[k]


def _shown(levels: np.ndarray) -> np.ndarray:
    """(H, W, C) grey levels -> (H, W, 3) uint8: the first three channels or the first, by their own mean and spread."""
    if levels.dtype == np.uint8 and levels.shape[2] == 3:
        return np.ascontiguousarray(levels)
    shown = (0, 1, 2) if levels.shape[2] >= 3 else (0, 0, 0)
    mean, std = levels.mean((0, 1)) / 255, levels.std((0, 1)) / 255
    return shown_image(levels, shown, mean, np.maximum(std, 1e-6))


def _drawn(source: Source, split: str, k: int) -> Sample | None:
    """None where the pair cannot be read, or means nothing."""
    dataset = source.datasets[split]
    try:
        sample = dataset[k]
    except UserError:
        return None
    height, width = sample.mask.shape
    across = min(width, _WIDTH)
    size = across, max(1, round(height * across / width))
    picture = Image.fromarray(_shown(sample.image)).resize(size, Image.Resampling.BILINEAR)
    colors = distinct_colors(source.labels.palette)
    drawn = palette_image(sample.mask, colors).resize(size, Image.Resampling.NEAREST)
    tinted = overlay(np.asarray(picture), np.asarray(drawn), colors, outlines=True)
    buffer = io.BytesIO()
    Image.fromarray(tinted).save(buffer, "JPEG", quality=_QUALITY)
    uri = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    image = dataset.pairs[k][0]
    name = image.relative_to(source.base) if image.is_relative_to(source.base) else image
    return Sample(f"{split}: {shown(name)}", uri, size)
