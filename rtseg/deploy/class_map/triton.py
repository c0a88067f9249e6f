"""Logits -> class map, and its margin, in one Triton kernel: bilinear (align_corners=False, float32), on CUDA.

Idea: a program owns a tile of the class map and runs over the classes. The upsampled score of a pixel lives in a
register for as long as it takes to compare it with the best so far, so the K x H x W tensor exists nowhere. The
traffic that remains is the logits, which the caches hold, and a byte a pixel.

B batch, K classes, h, w the size of the logits, H, W the size of the class map.

The shape of the work, for 512 x 512 and 150 classes at stride 8, where the logits are 2.4 MB; it follows from counting
instructions in the code for an H100, not from timing:

- The 32 columns of a tile are the 32 lanes of a warp. At stride 8 they need five or six neighbouring logits of a
  row, one or two sectors of 32 bytes; what one lane or warp brings into L1 serves the others.
- A thread owns _ROWS pixels below each other. Where the map is at least _ROWS times as high as the logits, these lie
  between three rows of logits: 6 loads and 3 interpolations along x serve four pixels, instead of 16 and 8. It halves
  the instructions, which are the limit (18 a pixel and class). Otherwise a thread owns one pixel.
- _CLASSES are in flight at once, so that 12 loads of a thread share the way to L2. More need more registers than 64.
- _WARPS a program make 512 programs: four on each multiprocessor of an H100, and four warps for each of its schedulers.
"""

import os
import shutil

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # PyTorch brings it along only where it has a GPU to use it on
    triton = None

_COLUMNS = 32
_ROWS = 4
_WARPS = 4
_CLASSES = 2


def available() -> bool:
    """Whether Triton is here, and the C compiler with which it builds what launches a kernel."""
    return triton is not None and any((os.environ.get("CC"), shutil.which("gcc"), shutil.which("clang")))


def class_map_triton(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of every pixel.

    Equal to `F.interpolate(logits.float().contiguous(), size, mode="bilinear").argmax(1)`: the lower class where two
    are equal, the first NaN where there is one. Only where the best two differ by no more than the rounding of
    float32 may the two disagree.

    Nothing waits for the GPU, so a CUDA graph can hold it; but the first call for a dtype, below x4 and from there on,
    compiles for a second, and has to come before the capture. Other sizes and strides compile nothing new.

    Args:
        logits: (B, K, h, w) on CUDA, of any floating dtype and any strides.
        size: (H, W).

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above.
    """
    return _launch(logits, size, None)


def class_map_and_margin_triton(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The class of every pixel, and its best minus its second best logit: (B, H, W) float32, infinite for one class.

    As for `class_map_triton`; a second register a pixel has the second best.
    """
    margins = torch.empty((len(logits), *size), dtype=torch.float32, device=logits.device)
    return _launch(logits, size, margins), margins


def _launch(logits: Tensor, size: tuple[int, int], margins: Tensor | None) -> Tensor:
    """Runs the kernel; the class map. `margins` is written to where it is given."""
    batch, num_classes, height, width = logits.shape
    dtype = torch.uint8 if num_classes <= 256 else torch.int16
    classes = torch.empty((batch, *size), dtype=dtype, device=logits.device)
    rows = _ROWS if size[0] >= _ROWS * height else 1
    grid = (triton.cdiv(size[1], _COLUMNS), triton.cdiv(size[0], rows * _WARPS), batch)
    with torch.cuda.device_of(logits):  # Triton launches on the current device
        _class_map_kernel[grid](
            logits,
            classes,
            classes if margins is None else margins,
            num_classes,
            height,
            width,
            *size,
            height / size[0],  # passed as float32; rounding twice makes no difference to a quotient of integers
            width / size[1],
            *logits.stride(),
            MARGIN=margins is not None,
            CLASSES=_CLASSES,
            ROWS=rows,
            GROUPS=_WARPS,
            COLUMNS=_COLUMNS,
            num_warps=_WARPS,
            enable_fp_fusion=True,  # as PyTorch's kernel is compiled
        )
    return classes


if triton is not None:

    @triton.jit
    def _source(pixel: tl.tensor, scale: tl.tensor, length: tl.tensor) -> tuple[tl.tensor, tl.tensor]:
        """Where a pixel lies among the logits, and the logit at or before it."""
        position = tl.maximum(scale * (pixel.to(tl.float32) + 0.5) - 0.5, 0.0)
        before = tl.minimum(position.to(tl.int32), length - 1)  # beyond the edge of the map, too, a logit that exists
        return position, before

    @triton.jit
    def _along_x(row: tl.tensor, left: tl.tensor, right: tl.tensor, to_right: tl.tensor) -> tl.tensor:
        """A row of logits at the columns of the map."""
        return (1 - to_right) * tl.load(row + left).to(tl.float32) + to_right * tl.load(row + right).to(tl.float32)

    @triton.jit
    def _larger(value: tl.tensor, best: tl.tensor) -> tl.tensor:
        """As for argmax: NaN is larger than every number, and not larger than itself."""
        return ~(value <= best) & (best == best)

    @triton.jit
    def _winner(
        value: tl.tensor, number: tl.tensor, best: tl.tensor, best_number: tl.tensor
    ) -> tuple[tl.tensor, tl.tensor]:
        """The class with the larger value, or the lower one of two that are equal."""
        equal = ~_larger(value, best) & ~_larger(best, value)
        better = _larger(value, best) | (equal & (number < best_number))
        return tl.where(better, value, best), tl.where(better, number, best_number)

    @triton.jit
    def _two_best(
        value: tl.tensor,
        value_second: tl.tensor,
        number: tl.tensor,
        best: tl.tensor,
        best_second: tl.tensor,
        best_number: tl.tensor,
    ) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
        """`_winner`, and the second best of the two places."""
        second = tl.maximum(tl.minimum(value, best), tl.maximum(value_second, best_second))
        value, number = _winner(value, number, best, best_number)
        return value, second, number

    # Not specialized: one size of logits would otherwise get another kernel than the next, compiled when it arrives.
    @triton.jit(
        do_not_specialize=[
            *("logits", "classes", "margins", "num_classes", "height", "width", "map_height", "map_width"),
            *("stride_b", "stride_k", "stride_h", "stride_w"),
        ]
    )
    def _class_map_kernel(
        logits: tl.tensor,
        classes: tl.tensor,
        margins: tl.tensor,
        num_classes: tl.tensor,
        height: tl.tensor,
        width: tl.tensor,
        map_height: tl.tensor,
        map_width: tl.tensor,
        scale_y: tl.tensor,
        scale_x: tl.tensor,
        stride_b: tl.tensor,
        stride_k: tl.tensor,
        stride_h: tl.tensor,
        stride_w: tl.tensor,
        MARGIN: tl.constexpr,
        CLASSES: tl.constexpr,
        ROWS: tl.constexpr,
        GROUPS: tl.constexpr,
        COLUMNS: tl.constexpr,
    ) -> None:
        # Tensors are (CLASSES, ROWS, GROUPS, COLUMNS): Triton hands out the last axis to lanes and the one before to
        # warps, and leaves the others in the registers of a thread. GROUPS is therefore the number of warps.
        x = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, None, None, :]
        group = (tl.program_id(1) * GROUPS + tl.arange(0, GROUPS))[None, None, :, None]
        y = group * ROWS + tl.arange(0, ROWS)[None, :, None, None]
        image = tl.program_id(2).to(tl.int64)
        at_x, left = _source(x, scale_x, width)
        at_y, upper = _source(y, scale_y, height)
        _, first = _source(group * ROWS, scale_y, height)
        second = upper > first  # the pixel lies between the second and the third row, not the first and the second
        to_right = at_x - left.to(tl.float32)
        to_lower = at_y - (first + second.to(tl.int32)).to(tl.float32)

        # int64: with channels_last strides, a place may lie beyond 2**31.
        row_0 = logits + image * stride_b + first.to(tl.int64) * stride_h
        row_1 = logits + image * stride_b + tl.minimum(first + 1, height - 1).to(tl.int64) * stride_h
        row_2 = logits + image * stride_b + tl.minimum(first + 2, height - 1).to(tl.int64) * stride_h
        right = tl.minimum(left + 1, width - 1).to(tl.int64) * stride_w
        left = left.to(tl.int64) * stride_w

        # Class k competes in place k % CLASSES here; the winners of the places meet after the loop.
        best = tl.full((CLASSES, ROWS, GROUPS, COLUMNS), float("-inf"), tl.float32)
        best_class = tl.zeros((CLASSES, ROWS, GROUPS, COLUMNS), tl.int32)
        if MARGIN:
            runner_up = tl.full((CLASSES, ROWS, GROUPS, COLUMNS), float("-inf"), tl.float32)
        for start in range(0, num_classes, CLASSES):
            # The last class once more where there is none: it is not larger than itself.
            number = tl.minimum(start + tl.arange(0, CLASSES)[:, None, None, None], num_classes - 1)
            plane = number.to(tl.int64) * stride_k
            line_0 = _along_x(row_0 + plane, left, right, to_right)
            line_1 = _along_x(row_1 + plane, left, right, to_right)
            if ROWS == 1:
                value = (1 - to_lower) * line_0 + to_lower * line_1
            else:
                line_2 = _along_x(row_2 + plane, left, right, to_right)
                above = tl.where(second, line_1, line_0)
                below = tl.where(second, line_2, line_1)
                value = (1 - to_lower) * above + to_lower * below
            if MARGIN:  # the last class once more must not be second to itself
                is_class = start + tl.arange(0, CLASSES)[:, None, None, None] < num_classes
                value = tl.where(is_class, value, float("-inf"))
            better = _larger(value, best)
            if MARGIN:
                runner_up = tl.maximum(runner_up, tl.where(better, best, value))
            best = tl.where(better, value, best)
            best_class = tl.where(better, number, best_class)
        place = (image * map_height + y) * map_width + x
        inside = (y < map_height) & (x < map_width)
        if MARGIN:
            best, runner_up, best_class = tl.reduce((best, runner_up, best_class), 0, _two_best, keep_dims=True)
            tl.store(margins + place, best - runner_up, inside)
        else:
            best, best_class = tl.reduce((best, best_class), 0, _winner, keep_dims=True)
        tl.store(classes + place, best_class.to(classes.dtype.element_ty), inside)
