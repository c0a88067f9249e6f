"""Pooling of any feature map to a fixed grid, in a form that exports to ONNX with height and width left open.

Cell i of k over an axis of n positions averages, or takes the largest of, positions floor(i n / k) to
ceil((i + 1) n / k) - 1: neighbouring cells overlap where k does not divide n, and share positions where n < k. That is
PyTorch's own rule, and outside of an export PyTorch's own kernels are used. Exporters write these kernels down for the
one size they have seen: at another size the exported average is silently wrong, and the maximum does not export at all
unless the grid divides the map. So an export gets the same function as arithmetic on the size,
or plain pooling where it is of one size alone that the grid divides.

B batch, C channels, H, W height and width, (k_h, k_w) the grid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def adaptive_avg_pool2d(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, k_h, k_w): the mean of every cell of `grid` = (k_h, k_w)."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, grid)
    cell = _equal_cells(x, grid)
    return F.avg_pool2d(x, cell) if cell else average_by_matrices(x, grid)


def adaptive_max_pool2d(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, H, W) -> (B, C, k_h, k_w): the largest value of every cell of `grid` = (k_h, k_w)."""
    if not torch.compiler.is_exporting():
        return F.adaptive_max_pool2d(x, grid)
    cell = _equal_cells(x, grid)
    return F.max_pool2d(x, cell) if cell else maximum_by_gather(x, grid)


def average_by_matrices(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """`adaptive_avg_pool2d` as P_h X P_w^T, P a (cells, positions) matrix whose rows are means."""
    rows, columns = (
        _averaging_matrix(n, cells, x.device, torch.promote_types(x.dtype, torch.float32))
        for n, cells in zip(x.shape[-2:], grid, strict=True)
    )
    return (rows @ x.to(rows.dtype) @ columns.T).to(x.dtype)


def maximum_by_gather(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """`adaptive_max_pool2d` along one axis after the other: positions are gathered cell by cell, then the largest."""
    return _largest_rows(_largest_rows(x, grid[0]).mT, grid[1]).mT


def _largest_rows(x: Tensor, cells: int) -> Tensor:
    """(B, C, n, W) -> (B, C, cells, W). Whole rows are gathered, which engines copy in one piece."""
    n = x.shape[-2]
    start, end = _cells(n, cells, x.device)
    # No cell is longer, and shorter ones name their last position again. Two at least: one would be a case of its own.
    steps = torch.arange((n + cells - 1) // cells + 1, device=x.device)
    positions = torch.minimum(start[:, None] + steps, end[:, None] - 1)
    return x.index_select(-2, positions.flatten()).unflatten(-2, (cells, -1)).amax(-2)


def _equal_cells(x: Tensor, grid: tuple[int, int]) -> tuple[int, int] | None:
    """(height, width) of every cell, where the export is of one size, which the grid divides: plain pooling, which
    engines know. A size that is left open is not an int.
    """
    height, width = x.shape[-2:]
    if type(height) is not int or type(width) is not int or height % grid[0] or width % grid[1]:
        return None
    return height // grid[0], width // grid[1]


def _cells(n: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First position of every cell, and the one behind its last."""
    i = torch.arange(cells, device=device)
    # One division for both: an engine runs eight small kernels for it.
    start, end = (torch.stack([i * n, i * n + (n + cells - 1)]) // cells).unbind()
    return start, end


def _averaging_matrix(n: int, cells: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    start, end = (t[:, None] for t in _cells(n, cells, device))
    positions = torch.arange(n, device=device)
    inside = (positions >= start) & (positions < end)
    return inside.to(dtype) / (end - start)
