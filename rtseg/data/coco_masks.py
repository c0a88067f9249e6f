"""The masks of COCO's annotations, and what can be wrong with them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rtseg.data import rle
from rtseg.data.fill import fill
from rtseg.errors import UserError

Segmentation = Sequence[Sequence[float]] | Mapping[str, Any]
"""Polygons, each x, y, x, y, ...; or run lengths, as a list or as text."""

_LARGEST = 1e15  # of a number: whole numbers of JSON have no bound, and those of float32 have


def draw(segmentation: Segmentation, size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) bool of an annotation without a fault.

    Args:
        size: (height, width) of the image.
    """
    if isinstance(segmentation, Mapping):
        return rle.decode(segmentation)
    mask = np.zeros(size, bool)
    for ring in segmentation:
        mask |= fill(ring, size)
    return mask


def fault(segmentation: Any, size: tuple[int, int]) -> str | None:
    """What makes a segmentation unusable, after a number: its first word is a plural; None: nothing.

    Args:
        size: (height, width) of the image.
    """
    if isinstance(segmentation, Mapping):
        return _fault_of_runs(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        return "annotations without a segmentation"
    for ring in segmentation:
        if not isinstance(ring, list) or not all(map(is_number, ring)):
            return "polygons with something else than finite numbers"
        if len(ring) % 2:
            return "polygons with an odd number of coordinates"
        if len(ring) < 6:
            return "polygons of fewer than three points"
        # One far point would make COCO's code draw a line of its length.
        if any(not -side <= number <= 2 * side for k, side in ((0, size[1]), (1, size[0])) for number in ring[k::2]):
            return "polygons far outside the image"
    return None


def _fault_of_runs(segmentation: Mapping[str, Any], size: tuple[int, int]) -> str | None:
    if segmentation.get("size") != list(size):
        return "annotations whose run lengths have another size than the image"
    if not isinstance(segmentation.get("counts"), (str, list)):
        return "annotations whose run lengths have no counts"
    try:
        rle.run_lengths(segmentation)
    except UserError:
        return "annotations whose run lengths do not fill the image"
    return None


def is_number(value: Any) -> bool:
    """Whether it is a number that float32 can take."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
