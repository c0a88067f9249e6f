"""Class map and margin on a CPU: one compiled kernel that looks, cell by cell, at the classes that can be second.

The idea is that of `cpu.py`. A class can be among the two best of a cell's pixels only if the largest of its corners
reaches the second best of all classes' smallest corners: otherwise two classes are above it everywhere in the cell.
So each cell has at least two candidates, and all are interpolated.

Logits that are upsampled twice are covered as well (`taps.py`).

h, w the size of the logits, K classes, H, W the size of the class map.
"""

from functools import partial

import numpy as np

from rtseg.deploy.class_map.cpu import CHUNKS, FEW, ROUNDING, compiled, pool, spread
from rtseg.deploy.class_map.taps import taps

Size = tuple[int, int]
LOWEST = np.finfo(np.float32).min


@compiled
def _second_bound(a, b, c, d, largest, smallest):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fills the largest and the smallest corner of every class; the second best of the smallest corners."""
    bound = np.float32(-np.inf)
    for k in range(a.size):
        largest[k] = max(max(a[k], b[k]), max(c[k], d[k]))
        low = min(min(a[k], b[k]), min(c[k], d[k]))
        smallest[k] = low
        bound = max(bound, low)
    return _second(smallest, bound)


@compiled
def _second(values, best):  # type: ignore[no-untyped-def] # pragma: no cover
    """The second best of the values, whose best is known and is lost."""
    k = 0
    while k < values.size - 1 and values[k] != best:
        k += 1
    values[k] = -np.inf
    second = np.float32(-np.inf)
    for k in range(values.size):
        second = max(second, values[k])
    return second


@compiled
def _second_bound_of_nine(logits, i, j, rows, columns, largest, smallest):  # type: ignore[no-untyped-def] # pragma: no cover
    """`_second_bound` where there are more than two rows or columns of corners."""
    h, w, num_classes = logits.shape
    largest[:] = logits[i, j]
    smallest[:] = logits[i, j]
    for down in range(rows):
        for right in range(columns):
            corner = logits[min(i + down, h - 1), min(j + right, w - 1)]
            for k in range(num_classes):
                largest[k] = max(largest[k], corner[k])
                smallest[k] = min(smallest[k], corner[k])
    bound = np.float32(-np.inf)
    for k in range(num_classes):
        bound = max(bound, smallest[k])
    return _second(smallest, bound)


@compiled
def _compete(best, second, index, shares, a, b, c, d, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """Class k with its four corners against the best two so far, at every pixel of a cell."""
    near_y, near_x = shares
    for p in range(best.size):
        at_left = a + near_y[p] * (c - a)
        at_right = b + near_y[p] * (d - b)
        value = at_left + near_x[p] * (at_right - at_left)
        better = value > best[p]  # so that of equal ones the lower class stays
        second[p] = max(second[p], min(best[p], value))
        best[p] = value if better else best[p]
        index[p] = k if better else index[p]


@compiled
def _compete_of_nine(best, second, index, near_y, far_y, near_x, far_x, c, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """`_compete` with nine corners."""
    for p in range(best.size):
        at_left = c[0, 0] + near_y[p] * (c[1, 0] - c[0, 0]) + far_y[p] * (c[2, 0] - c[1, 0])
        middle = c[0, 1] + near_y[p] * (c[1, 1] - c[0, 1]) + far_y[p] * (c[2, 1] - c[1, 1])
        at_right = c[0, 2] + near_y[p] * (c[1, 2] - c[0, 2]) + far_y[p] * (c[2, 2] - c[1, 2])
        value = at_left + near_x[p] * (middle - at_left) + far_x[p] * (at_right - middle)
        better = value > best[p]
        second[p] = max(second[p], min(best[p], value))
        best[p] = value if better else best[p]
        index[p] = k if better else index[p]


@compiled
def _winner_and_margin(candidates, a, b, c, d, near_y, near_x):  # type: ignore[no-untyped-def] # pragma: no cover
    """The best class of one pixel, and its margin."""
    best, second, index = np.float32(-np.inf), np.float32(-np.inf), candidates[0]
    for m in range(candidates.size):
        k = candidates[m]
        at_left = a[k] + near_y * (c[k] - a[k])
        at_right = b[k] + near_y * (d[k] - b[k])
        value = at_left + near_x * (at_right - at_left)
        better = value > best
        second = max(second, min(best, value))
        best = value if better else best
        index = k if better else index
    return index, best - second


@compiled
def _write(best, second, index, top, height, left, width, classes, margins):  # type: ignore[no-untyped-def] # pragma: no cover
    """A cell's pixels to their places."""
    p = np.uint64(0)
    for y in range(np.uint64(top), np.uint64(top + height)):
        for x in range(np.uint64(left), np.uint64(left + width)):
            classes[y, x] = index[p]
            margins[y, x] = best[p] - second[p]
            p += np.uint64(1)


@compiled
def _fill_runs(logits, classes, margins, y_taps, x_taps, begin, end):  # type: ignore[no-untyped-def] # pragma: no cover
    """Writes classes and margins of the runs begin..end - 1 of rows; the number of candidates that they had."""
    first_y, count_y, start_y, near_y, far_y = y_taps
    first_x, count_x, start_x, near_x, far_x = x_taps
    h, w, num_classes = logits.shape
    largest, smallest = np.empty(num_classes, np.float32), np.empty(num_classes, np.float32)
    candidates = np.zeros(num_classes, np.int32)
    corners = np.empty((3, 3), np.float32)
    most = np.max(start_y[1:] - start_y[:-1]) * np.max(start_x[1:] - start_x[:-1])
    # The pixels of a cell side by side: loops that are longer than a row of a cell become vectors.
    shares, values, indices = np.empty((4, most), np.float32), np.empty((2, most), np.float32), np.empty(most, np.int32)
    seen = 0
    for run_y in range(begin, end):
        top, height = start_y[run_y], start_y[run_y + 1] - start_y[run_y]
        for run_x in range(first_x.size):
            left, width = start_x[run_x], start_x[run_x + 1] - start_x[run_x]
            i, j, rows, columns = first_y[run_y], first_x[run_x], count_y[run_y], count_x[run_x]
            four = rows == 2 and columns == 2
            a, b = logits[i, j], logits[i, min(j + 1, w - 1)]
            c, d = logits[min(i + 1, h - 1), j], logits[min(i + 1, h - 1), min(j + 1, w - 1)]
            if four:
                bound = _second_bound(a, b, c, d, largest, smallest)
            else:
                bound = _second_bound_of_nine(logits, i, j, rows, columns, largest, smallest)
            bound = max(bound - ROUNDING * abs(bound), LOWEST)  # a class masked by -inf is never second
            n = 0
            for k in range(num_classes):  # without a branch: whether a class stays is hard to predict
                candidates[n] = k
                n += largest[k] >= bound
            seen += n
            if n < 2:
                classes[top : top + height, left : left + width] = candidates[0] if n else 0
                margins[top : top + height, left : left + width] = np.float32(np.inf)
                continue
            pixels = height * width
            if four and pixels <= FEW:
                for y in range(np.uint64(top), np.uint64(top + height)):
                    for x in range(np.uint64(left), np.uint64(left + width)):
                        pixel = _winner_and_margin(candidates[:n], a, b, c, d, near_y[y], near_x[x])
                        classes[y, x], margins[y, x] = pixel
                continue
            best, second, index = values[0, :pixels], values[1, :pixels], indices[:pixels]
            down, deep, right, wide = shares[0, :pixels], shares[1, :pixels], shares[2, :pixels], shares[3, :pixels]
            spread(near_y, near_x, top, height, left, width, down, right)
            if not four:
                spread(far_y, far_x, top, height, left, width, deep, wide)
            best[:] = np.float32(-np.inf)
            second[:] = np.float32(-np.inf)
            index[:] = candidates[0]
            for m in range(n):
                k = candidates[m]
                if four:
                    _compete(best, second, index, (down, right), a[k], b[k], c[k], d[k], k)
                else:
                    for row in range(3):
                        for column in range(3):
                            corners[row, column] = logits[min(i + row, h - 1), min(j + column, w - 1), k]
                    _compete_of_nine(best, second, index, down, deep, right, wide, corners, k)
            _write(best, second, index, top, height, left, width, classes, margins)
    return seen


def class_map_and_margin_cpu(
    logits: np.ndarray, size: Size, between: Size | None = None, *, threads: int = 1
) -> tuple[np.ndarray, np.ndarray, float]:
    """The class of every pixel and its margin.

    Args:
        logits: (B, h, w, K) float32, C-contiguous: the classes of a position lie side by side.
        size: (H, W), any.
        between: a size of at least (h, w) to which the logits are upsampled first.

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above; (B, H, W) float32; and the candidates of a cell, on
        average.
    """
    batch, h, w, num_classes = logits.shape
    classes = np.empty((batch, *size), np.int16)  # one type, so that the kernel is compiled once
    margins = np.empty((batch, *size), np.float32)
    y, x = (taps(*axes) for axes in zip((h, w), between or size, size, strict=True))
    runs = len(y.first)
    chunks = min(runs, 1 if threads == 1 else CHUNKS * threads)
    jobs = [
        partial(_fill_runs, one, out, margin, tuple(y), tuple(x), i * runs // chunks, (i + 1) * runs // chunks)
        for one, out, margin in zip(logits, classes, margins, strict=True)
        for i in range(chunks)
    ]
    run = map if threads == 1 else pool(threads).map
    seen = sum(run(lambda job: job(), jobs))
    if num_classes <= 256:
        classes = classes.astype(np.uint8)
    return classes, margins, seen / (batch * runs * len(x.first))
