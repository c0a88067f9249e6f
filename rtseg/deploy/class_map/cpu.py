"""The class map on a CPU: one compiled kernel that looks, cell by cell, only at the classes that can win there.

A pixel lies in a cell of four neighbouring logits and its value is a convex combination of theirs. So a class can be
the best of a cell's pixels only if the largest of its four corners reaches the best of all classes' smallest corners.
Most cells of a trained network have one such class and are filled without any interpolation; on pure noise of 150
classes 97 remain. What remains is interpolated a cell at a time. `margin_cpu.py` has the kernel
that finds the two best classes of a pixel.

Logits are finite. h, w the size of the logits, K classes, H, W the size of the class map.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numba
import numpy as np

ROUNDING = np.float32(2**-20)
"""Interpolation rounds: a class stays if it misses the bound by no more than 8 units in the last place."""
CHUNKS = 4
"""Parts of a map for each thread: cells differ in cost."""
FEW = 4
"""Pixels of a cell that are done one by one: their best so far stays in a register, and more are vectors."""


class Axis(NamedTuple):
    """Output positions along one axis: how far behind its cell's first logit each lies, and where each cell begins."""

    fraction: np.ndarray
    start: np.ndarray


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept between processes where there is a folder for it; threads run it side by side."""
    # Not "ninf": a class masked by -inf is legal. A NaN is no logit.
    options: dict[str, Any] = {"nogil": True, "fastmath": {"nsz", "contract", "nnan"}}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside this file nor in the user's cache may a file be written
        return numba.njit(**options)(function)


@compiled
def _largest_and_bound(a, b, c, d, largest):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fills the largest corner of every class; the best of the smallest corners."""
    bound = np.float32(-np.inf)
    for k in range(a.size):
        largest[k] = max(max(a[k], b[k]), max(c[k], d[k]))
        bound = max(bound, min(min(a[k], b[k]), min(c[k], d[k])))
    return bound


@compiled
def spread(of_y, of_x, top, height, left, width, down, right):  # type: ignore[no-untyped-def] # pragma: no cover
    """Shares along each axis -> shares of a cell's pixels, side by side."""
    p = np.uint64(0)  # indices without a sign need no test for a negative one, which takes most of the time here
    for y in range(np.uint64(top), np.uint64(top + height)):
        for x in range(np.uint64(left), np.uint64(left + width)):
            down[p], right[p] = of_y[y], of_x[x]
            p += np.uint64(1)


@compiled
def _compete(best, index, shares, a, b, c, d, k):  # type: ignore[no-untyped-def] # pragma: no cover
    """Class k with its four corners against the best so far, at every pixel of a cell."""
    down, right = shares
    for p in range(best.size):
        at_left = a + down[p] * (c - a)
        at_right = b + down[p] * (d - b)
        value = at_left + right[p] * (at_right - at_left)
        better = value > best[p]  # so that of equal ones the lower class stays
        best[p] = value if better else best[p]
        index[p] = k if better else index[p]


@compiled
def _winner(candidates, a, b, c, d, down, right):  # type: ignore[no-untyped-def] # pragma: no cover
    """The best class of one pixel."""
    best, index = np.float32(-np.inf), candidates[0]
    for m in range(candidates.size):
        k = candidates[m]
        at_left = a[k] + down * (c[k] - a[k])
        at_right = b[k] + down * (d[k] - b[k])
        value = at_left + right * (at_right - at_left)
        better = value > best
        best = value if better else best
        index = k if better else index
    return index


@compiled
def _write(index, top, height, left, width, classes):  # type: ignore[no-untyped-def] # pragma: no cover
    """A cell's classes to their places."""
    p = np.uint64(0)
    for y in range(np.uint64(top), np.uint64(top + height)):
        for x in range(np.uint64(left), np.uint64(left + width)):
            classes[y, x] = index[p]
            p += np.uint64(1)


@compiled
def _fill_rows(logits, classes, fraction_y, start_y, fraction_x, start_x, first, last):  # type: ignore[no-untyped-def] # pragma: no cover
    """Writes the pixels of the cells in rows first..last - 1; the number of candidates that these cells had."""
    h, w, num_classes = logits.shape
    largest = np.empty(num_classes, np.float32)
    candidates = np.zeros(num_classes, np.int32)  # zeros: with NaN logits no class is a candidate, and 0 is named
    most = np.max(start_y[1:] - start_y[:-1]) * np.max(start_x[1:] - start_x[:-1])
    # The pixels of a cell side by side: loops that are longer than a row of a cell become vectors.
    shares, values, indices = np.empty((2, most), np.float32), np.empty(most, np.float32), np.empty(most, np.int32)
    seen = 0
    for i in range(first, last):
        top, bottom = start_y[i], start_y[i + 1]
        if top == bottom:
            continue
        below = min(i + 1, h - 1)
        for j in range(w):
            left, right = start_x[j], start_x[j + 1]
            if left == right:
                continue
            beside = min(j + 1, w - 1)
            a, b, c, d = logits[i, j], logits[i, beside], logits[below, j], logits[below, beside]
            bound = _largest_and_bound(a, b, c, d, largest)
            bound -= ROUNDING * abs(bound)
            n = 0
            for k in range(num_classes):  # without a branch: whether a class stays is hard to predict
                candidates[n] = k
                n += largest[k] >= bound
            seen += n
            if n == 1:
                classes[top:bottom, left:right] = candidates[0]
                continue
            pixels = (bottom - top) * (right - left)
            if pixels <= FEW:
                for y in range(np.uint64(top), np.uint64(bottom)):
                    for x in range(np.uint64(left), np.uint64(right)):
                        classes[y, x] = _winner(candidates[:n], a, b, c, d, fraction_y[y], fraction_x[x])
                continue
            best, index, cell = values[:pixels], indices[:pixels], (shares[0, :pixels], shares[1, :pixels])
            spread(fraction_y, fraction_x, top, bottom - top, left, right - left, *cell)
            best[:] = np.float32(-np.inf)
            index[:] = candidates[0]
            for m in range(n):
                k = candidates[m]
                _compete(best, index, cell, a[k], b[k], c[k], d[k], k)
            _write(index, top, bottom - top, left, right - left, classes)
    return seen


def class_map_cpu(logits: np.ndarray, size: tuple[int, int], *, threads: int = 1) -> tuple[np.ndarray, float]:
    """The class of every pixel.

    Args:
        logits: (B, h, w, K) float32, C-contiguous: the classes of a position lie side by side.
        size: (H, W), any.

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above; and the candidates of a cell, on average.
    """
    batch, h, w, num_classes = logits.shape
    classes = np.empty((batch, *size), np.uint8 if num_classes <= 256 else np.int16)
    y, x = axis(h, size[0]), axis(w, size[1])
    chunks = min(h, 1 if threads == 1 else CHUNKS * threads)
    jobs = [
        partial(_fill_rows, one, out, *y, *x, i * h // chunks, (i + 1) * h // chunks)
        for one, out in zip(logits, classes, strict=True)
        for i in range(chunks)
    ]
    run = map if threads == 1 else pool(threads).map
    seen = sum(run(lambda job: job(), jobs))
    cells = batch * np.count_nonzero(np.diff(y.start)) * np.count_nonzero(np.diff(x.start))
    return classes, seen / cells


@lru_cache(maxsize=1)
def pool(threads: int) -> ThreadPoolExecutor:
    """The threads of this process that run kernels."""
    return ThreadPoolExecutor(threads, thread_name_prefix="class_map")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)  # its threads do not live in the child


@lru_cache(maxsize=64)
def axis(n: int, out: int) -> Axis:
    """PyTorch's rule for align_corners=False, in float32 as there."""
    scale = np.float32(n) / np.float32(out)
    position = np.maximum(scale * (np.arange(out, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    cell = np.minimum(position.astype(np.int32), n - 1)
    fraction = np.clip(position - cell, 0, 1).astype(np.float32)
    return Axis(fraction, np.searchsorted(cell, np.arange(n + 1)).astype(np.int32))
