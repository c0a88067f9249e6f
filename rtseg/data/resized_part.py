"""A part of a resized image, out of that part of the image that it needs: as resizing all of it, 8 bits to the bit.

OpenCV computes each row and column of a resized image from two source lines and their weights. A window of the image
is resized in its place where these are the same numbers. They need not be: positions are rounded to float32, further
right to fewer digits. Then that axis is resized whole.

Floats may differ in their last digit: how OpenCV rounds them depends on how wide an array is.
"""

from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np

_WEIGHT_STEPS = 2048  # OpenCV's weights of 8-bit images are multiples of 1 / 2048


class _Window(NamedTuple):
    """Source lines `start`..`stop` of an axis, resized to `size` lines, of which `first` is the first one wanted."""

    start: int
    stop: int
    size: int
    first: int


def resized_part(
    array: np.ndarray, size: tuple[int, int], corner: tuple[int, int], part: tuple[int, int], interpolation: int
) -> np.ndarray:
    """cv2.resize(array, size)[top : top + height, left : left + width], often without resizing all of it.

    Args:
        array: (H, W) or (H, W, C).
        size: (height, width) that all of the image would be resized to.
        corner: (top, left) of the part.
        part: (height, width) of the part; it is inside `size`.
        interpolation: cv2.INTER_LINEAR or cv2.INTER_NEAREST.
    """
    rows, columns = (
        _window(array.shape[axis], size[axis], corner[axis], part[axis], interpolation, exact=array.dtype != np.uint8)
        for axis in (0, 1)
    )
    source = array[rows.start : rows.stop, columns.start : columns.stop]
    if (rows.size, columns.size) != source.shape[:2]:
        source = cv2.resize(source, (columns.size, rows.size), interpolation=interpolation)
    return source[rows.first : rows.first + part[0], columns.first : columns.first + part[1]]


def _window(source: int, target: int, first: int, number: int, interpolation: int, *, exact: bool) -> _Window:
    """The shortest window of an axis of `source` lines whose resize to `target` lines gives `number` lines from `first`
    on as they would be.

    Args:
        exact: weights must agree to the last digit, not only as multiples of 1 / 2048.
    """
    whole = _Window(0, source, target, first)
    if number == target:
        return whole
    ratio = Fraction(target, source)
    step, source_step = ratio.numerator, ratio.denominator  # so many lines repeat the positions
    wanted = _taps(source, target, first, number, interpolation, exact=exact)
    begin = min(first // step, int(wanted[0, 0]) // source_step)
    end = max(-(-(first + number) // step), -(-(int(wanted[1, -1]) + 1) // source_step))
    end = min(end, source // source_step)
    found = _Window(begin * source_step, end * source_step, (end - begin) * step, first - begin * step)
    if found.size == target:
        return whole
    taps = _taps(found.stop - found.start, found.size, found.first, number, interpolation, exact=exact)
    taps[:2] += found.start
    return found if np.array_equal(taps, wanted) else whole


def _taps(source: int, target: int, first: int, number: int, interpolation: int, *, exact: bool) -> np.ndarray:
    """(3, number): of each line, the two source lines that OpenCV mixes, and the weight of the second."""
    scale = 1 / (target / source)
    lines = np.arange(first, first + number)
    if interpolation == cv2.INTER_NEAREST:
        near = np.minimum(np.floor(lines * scale), source - 1)
        return np.stack([near, near, np.zeros(number)])
    position = ((lines + 0.5) * scale - 0.5).astype(np.float32)
    low = np.floor(position)
    weight = position - low
    weight = weight if exact else np.rint(weight * np.float32(_WEIGHT_STEPS))
    return np.stack([low.clip(0, source - 1), (low + 1).clip(0, source - 1), weight]).astype(np.float64)
