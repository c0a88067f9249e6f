"""The class map of an image that was seen through overlapping windows: their upsampled logits are averaged.

One window's logits, upsampled, are bilinear within a cell of four neighbours. So is the average of several windows
within the intersection of their cells, whatever the windows' positions. Such a piece is known by its four corner
pixels, and the classes that can win it are found from these, as in `cpu.py`. The upsampled logits are never held.

R, C rows and columns of windows, (T, U) the size of a window, K classes, h, w the size of a window's logits, (H, W) the
size of the image.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from rtseg.deploy.class_map.cpu import CHUNKS, ROUNDING, axis, compiled, pool


class WindowAxis(NamedTuple):
    """The windows along one axis, and the pieces between all borders of their cells.

    Attributes:
        starts: of the windows, ascending.
        cell, fraction: of each pixel of a window: its cell, and how far behind the cell's first logit it lies.
        edges: where pieces begin, and the end of the last.
        first, last: of each piece: the windows first..last cover it.
    """

    starts: np.ndarray
    cell: np.ndarray
    fraction: np.ndarray
    edges: np.ndarray
    first: np.ndarray
    last: np.ndarray


def window_axis(starts: Sequence[int], size: int, cells: int) -> WindowAxis:
    """Args:
    starts: of the windows, ascending.
    size: pixels of a window.
    cells: logits of a window.
    """
    fraction, start = axis(cells, size)
    cell = np.searchsorted(start, np.arange(size), "right").astype(np.int32) - 1
    # Left of the first logit's centre values are constant: a piece of its own.
    inner = np.append(start, [0, size, np.argmax(fraction > 0)])
    begins = np.asarray(starts, np.int64)
    edges = np.unique(begins[:, None] + inner)
    first = np.searchsorted(begins + size, edges[:-1], "right")
    last = np.searchsorted(begins, edges[:-1], "right") - 1
    return WindowAxis(begins, cell, fraction, edges, first, last)


@compiled
def _add_corner(window, cell_y, cell_x, fraction_y, fraction_x, share, corner):  # type: ignore[no-untyped-def] # pragma: no cover
    """Adds a share of a window's upsampled logits at one pixel."""
    h, w, num_classes = window.shape
    below, beside = min(cell_y + 1, h - 1), min(cell_x + 1, w - 1)
    a, b, c, d = window[cell_y, cell_x], window[cell_y, beside], window[below, cell_x], window[below, beside]
    for k in range(num_classes):
        at_left = a[k] + fraction_y * (c[k] - a[k])
        at_right = b[k] + fraction_y * (d[k] - b[k])
        corner[k] += share * (at_left + fraction_x * (at_right - at_left))


@compiled
def _fill_pieces(windows, classes, y, x, begin, end):  # type: ignore[no-untyped-def] # pragma: no cover
    """Writes the pieces begin..end - 1 of the vertical axis; row r of windows lies at r modulo their number."""
    held, num_classes = windows.shape[0], windows.shape[4]
    starts_y, cell_y, fraction_y, edges_y, first_y, last_y = y
    starts_x, cell_x, fraction_x, edges_x, first_x, last_x = x
    corners = np.empty((4, num_classes), np.float32)
    near = np.empty((num_classes, 4), np.float32)
    candidates = np.zeros(num_classes, np.int32)
    widest = np.max(edges_x[1:] - edges_x[:-1])
    best = np.empty(widest, np.float32)
    index = np.empty(widest, np.int32)
    for i in range(begin, end):
        top, bottom = edges_y[i], edges_y[i + 1]
        for j in range(edges_x.size - 1):
            left, right = edges_x[j], edges_x[j + 1]
            share = np.float32(1) / np.float32((last_y[i] - first_y[i] + 1) * (last_x[j] - first_x[j] + 1))
            corners[:] = 0
            for r in range(first_y[i], last_y[i] + 1):
                for c in range(first_x[j], last_x[j] + 1):
                    for corner in range(4):
                        row = (top if corner < 2 else bottom - 1) - starts_y[r]
                        column = (left if corner % 2 == 0 else right - 1) - starts_x[c]
                        _add_corner(
                            windows[r % held, c],
                            cell_y[row],
                            cell_x[column],
                            fraction_y[row],
                            fraction_x[column],
                            share,
                            corners[corner],
                        )
            bound = np.float32(-np.inf)
            for k in range(num_classes):
                lowest = min(min(corners[0, k], corners[1, k]), min(corners[2, k], corners[3, k]))
                bound = max(bound, lowest)
            bound -= ROUNDING * abs(bound)
            n = 0
            for k in range(num_classes):
                highest = max(max(corners[0, k], corners[1, k]), max(corners[2, k], corners[3, k]))
                candidates[n] = k
                n += highest >= bound
            if n == 1:
                classes[top:bottom, left:right] = candidates[0]
                continue
            for m in range(n):
                near[m] = corners[:, candidates[m]]
            step_y = np.float32(1) / np.float32(max(bottom - 1 - top, 1))
            step_x = np.float32(1) / np.float32(max(right - 1 - left, 1))
            for row in range(top, bottom):
                down = np.float32(row - top) * step_y
                best[:] = np.float32(-np.inf)
                index[:] = candidates[0]
                for m in range(n):  # ascending, so that of equal ones the lower class stays
                    at_left = near[m, 0] + down * (near[m, 2] - near[m, 0])
                    at_right = near[m, 1] + down * (near[m, 3] - near[m, 1])
                    for column in range(right - left):
                        value = at_left + np.float32(column) * step_x * (at_right - at_left)
                        better = value > best[column]
                        best[column] = value if better else best[column]
                        index[column] = candidates[m] if better else index[column]
                for column in range(right - left):
                    classes[row, left + column] = index[column]


def fill_rows(
    windows: np.ndarray, classes: np.ndarray, y: WindowAxis, x: WindowAxis, rows: tuple[int, int], *, threads: int = 1
) -> None:
    """Writes rows of the class map.

    Args:
        windows: (R, C, h, w, K) float32, finite: logits of rows of windows, row r of the image's at r modulo R. R is
            at least the number of rows of windows over a pixel.
        classes: (H, W), an integer type.
        rows: the first row and the end, both in `y.edges`.
    """
    begin, end = (int(edge) for edge in np.searchsorted(y.edges, rows))
    chunks = min(end - begin, 1 if threads == 1 else CHUNKS * threads)
    bounds = [begin + (end - begin) * i // chunks for i in range(chunks + 1)]
    jobs = [partial(_fill_pieces, windows, classes, y, x, *part) for part in pairwise(bounds)]
    run = map if threads == 1 else pool(threads).map
    list(run(lambda job: job(), jobs))
