"""The pixels that a polygon covers, by COCO's rule.

Coordinates are those of the edges of pixels: pixel (0, 0) reaches from 0 to 1. The corners are rounded to a fifth of a
pixel. A pixel is covered if its centre lies inside, and inside is even-odd: where a ring crosses itself, what it goes
round twice is outside. Neighbours that share an edge cover each pixel once. What lies outside the image is cut off.
`pycocotools.mask.frPyObjects` gives the same pixels.
"""

from collections.abc import Sequence

import numpy as np

_FINE = 5  # steps of a pixel that corners are rounded to


def fill(ring: Sequence[float] | np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H, W) bool inside a ring.

    Args:
        ring: x, y, x, y, ... of at least one finite point; the last is joined to the first.
        size: (height, width) of the image.
    """
    mask = np.zeros(size, bool)
    region, turns = windings(ring, size)
    mask[region] = turns & 1
    return mask


def windings(ring: Sequence[float] | np.ndarray, size: tuple[int, int]) -> tuple[tuple[slice, slice], np.ndarray]:
    """How often a ring goes round each pixel.

    Args:
        ring, size: see `fill`.

    Returns:
        The rows and columns of a part of the image that holds the ring, and the numbers (h, w) there: one way round
        counts up, the other way down.
    """
    columns, rows, ways = _crossings(np.asarray(ring, np.float64).reshape(-1, 2), size)
    if not len(columns):
        return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), np.int32)
    (left, top), (right, bottom) = (columns.min(), rows.min()), (columns.max() + 1, rows.max())
    width, height = right - left, bottom - top + 1  # a crossing below the last row turns nothing
    places = (columns - left) * height + rows - top
    borders = np.bincount(places, ways, minlength=width * height).astype(np.int32)
    # What crosses above a pixel in its column goes round it.
    turns = np.cumsum(borders.reshape(width, height), 1, dtype=np.int32)[:, :-1].T
    return (slice(top, bottom), slice(left, right)), turns


def crosses_itself(turns: np.ndarray) -> bool:
    """Whether a ring with these `windings` goes round a pixel twice, or round two in opposite ways."""
    return bool(turns.size) and (np.abs(turns).max() > 1 or turns.min() < 0 < turns.max())


def _crossings(points: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the outline crosses the centre lines of columns: columns 0..W-1, the first rows 0..H below, and +1 or -1
    for the way to the right or left.

    Args:
        points: (N, 2) x and y.
    """
    height, width = size
    x, y = _outline(np.trunc(_FINE * points + 0.5).astype(np.int64))
    left = np.minimum(x[1:], x[:-1])  # of two neighbours; they are one step apart, or none
    column = (left - _FINE // 2) // _FINE
    crosses = (x[1:] != x[:-1]) & (left % _FINE == _FINE // 2) & (column >= 0) & (column < width)
    upper = np.minimum(y[1:], y[:-1])[crosses]
    # The first row whose centre is at or below the outline.
    row = np.ceil((upper.clip(-_FINE, _FINE * (height + 1)) + 0.5) / _FINE - 0.5).astype(np.int64)
    return column[crosses], row.clip(0, height), (x[1:] - x[:-1])[crosses]


def _outline(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the fine points that lead from each corner to the next, and back to the first.

    Args:
        corners: (N, 2) in fine steps.
    """
    start, end = corners, np.roll(corners, -1, 0)
    steep = np.abs(end - start)[:, 1] > np.abs(end - start)[:, 0]
    long = steep.astype(np.int64)  # the axis with more steps
    edges = np.arange(len(corners))
    backwards = end[edges, long] < start[edges, long]
    # An edge has the same points in both directions.
    first, last = np.where(backwards[:, None], end, start), np.where(backwards[:, None], start, end)
    steps = last[edges, long] - first[edges, long]
    slope = (last - first)[edges, 1 - long] / np.maximum(steps, 1)
    edge = np.repeat(edges, steps + 1)
    along = np.arange(len(edge)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    along = np.where(backwards[edge], steps[edge] - along, along)
    far = first[edge, long[edge]] + along
    across = np.trunc(first[edge, 1 - long[edge]] + slope[edge] * along + 0.5).astype(np.int64)
    turned = steep[edge]
    return np.where(turned, across, far), np.where(turned, far, across)
