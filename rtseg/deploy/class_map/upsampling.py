"""Upsampled logits some rows at a time, on any device: for what needs them all, in memory that is bounded.

B batch, K classes, h, w the size of the logits, H, W the size of the class map.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]
MOST_ELEMENTS = 2**24  # 64 MiB


def upsampled_rows(logits: Tensor, size: Size, between: Size | None = None) -> Iterator[tuple[slice, Tensor]]:
    """The rows of `F.interpolate(logits.float(), size, mode="bilinear")`, from the top to the bottom.

    Args:
        logits: (B, K, h, w), finite, of any precision.
        size: (H, W), any.
        between: (H', W') to which the logits are upsampled first, and from there to `size`.

    Returns:
        The rows, and their values as (B, K, rows, W) float32.
    """
    logits = logits.detach().float()
    widest = max(size[1], between[1]) if between else size[1]
    rows = max(1, MOST_ELEMENTS // (logits.shape[0] * logits.shape[1] * widest))
    for first in range(0, size[0], rows):
        last = min(first + rows, size[0])
        yield slice(first, last), _twice(logits, size, between, first, last)


def class_map_and_margin_by_rows(logits: Tensor, size: Size, between: Size | None = None) -> tuple[Tensor, Tensor]:
    """`class_map_and_margin` in PyTorch's own operations."""
    batch, num_classes = logits.shape[:2]
    dtype = torch.uint8 if num_classes <= 256 else torch.int16
    classes = torch.empty((batch, *size), dtype=dtype, device=logits.device)
    margins = torch.full((batch, *size), torch.inf, device=logits.device)
    for rows, values in upsampled_rows(logits, size, between):
        best, index = values.max(1)
        classes[:, rows] = index.to(dtype)
        if num_classes > 1:
            margins[:, rows] = best - values.scatter_(1, index[:, None], -torch.inf).amax(1)
    return classes, margins


def resized_rows(inner: Callable[[int, int], Tensor], height: int, size: Size, first: int, last: int) -> Tensor:
    """Rows first..last - 1 of a map that is resized to `size`, from those of its rows that they need.

    Args:
        inner: (top, bottom) -> rows top..bottom - 1 of the map, (B, K, bottom - top, w).
        height: of the map.

    Returns:
        (B, K, last - first, W).
    """
    before, behind, share = _lines(height, size[0], first, last)
    top, bottom = int(before[0]), int(behind[-1]) + 1
    return _rows(inner(top, bottom), before - top, behind - top, share, size[1])


def _twice(logits: Tensor, size: Size, between: Size | None, first: int, last: int) -> Tensor:
    """(B, K, last - first, W): rows of the result, from those rows of the first step that they need."""

    def head(top: int, bottom: int) -> Tensor:
        return logits[:, :, top:bottom]

    if between is None:
        return resized_rows(head, logits.shape[2], size, first, last)
    middle = partial(resized_rows, head, logits.shape[2], between)
    return resized_rows(middle, between[0], size, first, last)


def _rows(values: Tensor, before: Tensor, behind: Tensor, share: Tensor, width: int) -> Tensor:
    """(B, K, h, w) -> (B, K, rows, width): interpolated along y by these weights, then along x."""
    upper, lower = values[:, :, before.to(values.device)], values[:, :, behind.to(values.device)]
    lines = torch.lerp(upper, lower, share.to(values.device)[:, None])
    return F.interpolate(lines, (len(before), width), mode="bilinear", align_corners=False)


def _lines(n: int, out: int, first: int, last: int) -> tuple[Tensor, Tensor, Tensor]:
    """The index before and behind each of positions first..last - 1 of `out` along n, and how far between the two."""
    # PyTorch's rule for align_corners=False, in float32 as there.
    scale = torch.tensor(n / out, dtype=torch.float32)
    position = (scale * (torch.arange(first, last, dtype=torch.float32) + 0.5) - 0.5).clamp(min=0)
    before = position.long().clamp(max=n - 1)
    return before, (before + 1).clamp(max=n - 1), (position - before).clamp(max=1)
