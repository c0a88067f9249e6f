"""Shapes drawn one over the other into a mask of class numbers."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rtseg.data.fill import crosses_itself, windings
from rtseg.data.labels.source import CLIPPED, CROSSED, EMPTY, OVERLAPPED, UNLABELLED, Drawn, Size

_OUT = 0.01  # pixels that a polygon may reach over the image: rounding, not a slip of the hand


class Shape(NamedTuple):
    """The pixels of an object.

    Attributes:
        label: its class.
        top, left: where `pixels` lie in the image.
        pixels: (h, w) bool.
        area: their number.
    """

    label: int
    top: int
    left: int
    pixels: np.ndarray
    area: int


def mask_shape(label: int, mask: np.ndarray) -> Shape:
    """An object that is a mask (H, W) bool of the whole image."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Shape(label, 0, 0, np.zeros((0, 0), bool), 0)
    top, left = int(rows[0]), int(columns[0])
    pixels = mask[top : rows[-1] + 1, left : columns[-1] + 1].copy()  # else the whole mask would stay in memory
    return Shape(label, top, left, pixels, int(pixels.sum()))


def polygon_shape(label: int, rings: Sequence[Sequence[float]], size: Size, counts: Counter[str]) -> Shape:
    """An object that is the union of rings, see `rtseg.data.fill`.

    Args:
        rings: each x, y, x, y, ...
        size: (height, width) of the image.
        counts: is counted up.
    """
    mask = np.zeros(size, bool)
    for ring in rings:
        region, turns = windings(ring, size)
        mask[region] |= (turns & 1).astype(bool)
        counts[CROSSED] += crosses_itself(turns)
        counts[CLIPPED] += _reaches_out(ring, size)
    return mask_shape(label, mask)


def _reaches_out(ring: Sequence[float], size: Size) -> bool:
    points = np.asarray(ring, np.float64).reshape(-1, 2)
    return bool((points < -_OUT).any() or (points > np.array(size[::-1]) + _OUT).any())


def paint(shapes: Iterable[Shape], size: Size, counts: Counter[str], *, by_area: bool) -> Drawn:
    """The mask of an image.

    Args:
        shapes: a later one lies above an earlier one.
        size: (height, width) of the image.
        counts: is counted up.
        by_area: smaller ones lie above larger ones instead; of two equal ones the later.
    """
    labels = np.full(size, UNLABELLED, np.uint8)
    overlapped = np.zeros(size, bool)
    for shape in sorted(shapes, key=lambda shape: -shape.area) if by_area else shapes:
        counts[EMPTY] += not shape.area
        height, width = shape.pixels.shape
        region = slice(shape.top, shape.top + height), slice(shape.left, shape.left + width)
        below = labels[region]
        overlapped[region] |= shape.pixels & (below != UNLABELLED) & (below != shape.label)
        below[shape.pixels] = shape.label
    counts[OVERLAPPED] += int(overlapped.sum())
    return Drawn(labels, counts)
