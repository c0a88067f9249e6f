"""Logits at the head's stride -> class map at image size: bilinear (align_corners=False, float32), then the best class.

The same gives the margin of a pixel, which is its best minus its second best logit, and the probability of its class.

For 150 classes the upsampled logits take 600 bytes a pixel, to write one: upsampling and argmax take longer than the
network. Here they are never held. On a CPU a compiled kernel looks only at the classes that can win a cell (`cpu.py`,
`margin_cpu.py`), on CUDA one fused Triton kernel goes through all of them in registers (`triton.py`), elsewhere classes
are upsampled in groups, or some rows at a time (`upsampling.py`). Numba and Triton take long to import, and only
the one that is used is imported.

Some networks are evaluated with logits that are upsampled twice: to the size that the network saw, and from there to
the image's. `between` is this first size. Both steps are then one here too.

B batch, K classes, h, w the size of the logits, H, W the size of the class map.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.class_map.upsampling import class_map_and_margin_by_rows, upsampled_rows
from rtseg.errors import UserError

_GROUP_ELEMENTS = 2**28  # of one upsampled group of classes, 1 GiB


def class_map(logits: Tensor, size: tuple[int, int], *, between: tuple[int, int] | None = None) -> Tensor:
    """The class of every pixel, the lower one where two are equal.

    Equal to `F.interpolate(logits.float().contiguous(), size, mode="bilinear").argmax(1)` but for pixels where two
    classes are equal up to the rounding of the interpolation. Quickest where the classes of a position lie side by side
    in memory (channels_last).

    Args:
        logits: (B, K, h, w), finite, of any precision.
        size: (H, W), larger or smaller.
        between: a size to which the logits are upsampled first; None for one step.

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above, on the same device.
    """
    if between is not None and between != size:
        return class_map_and_margin(logits, size, between=between)[0]
    kind = class_map_kind(logits.device)
    if kind == "cells":
        # float() alone would keep strides that are neither of the two formats.
        from rtseg.deploy.class_map.cpu import class_map_cpu

        rows = logits.detach().float().permute(0, 2, 3, 1).contiguous()
        classes, _ = class_map_cpu(rows.numpy(), size, threads=torch.get_num_threads())
        return torch.from_numpy(classes)
    if kind == "triton":
        from rtseg.deploy.class_map.triton import class_map_triton

        return class_map_triton(logits, size)
    return class_map_by_groups(logits, size)


def class_map_and_margin(
    logits: Tensor, size: tuple[int, int], *, between: tuple[int, int] | None = None
) -> tuple[Tensor, Tensor]:
    """The class of every pixel, and how far its logit is above the second best of the pixel.

    The class map is that of `class_map`. The margin is the difference of the two largest values of
    `F.interpolate(logits.float(), size, mode="bilinear")`, up to the rounding of float32.

    The positions of pixels are PyTorch's as well, which rounds them to float32. At 1164x874 upsampling in float64,
    positions included, has margins that differ by up to 4e-5 of the largest logit, on noise. Positions of float64 would
    name other classes where two are nearly equal, so that class map and margin would not belong together.

    Args:
        logits: (B, K, h, w), finite, of any precision.
        size: (H, W), larger or smaller.
        between: a size to which the logits are upsampled first; None for one step.

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above; and (B, H, W) float32 of at least 0, infinite where there
        is one class. On the same device.

    Raises:
        UserError: logits of another shape, or a size below 1.
    """
    _check_sizes(logits, size, between)
    if between == size:
        between = None
    kind = class_map_kind(logits.device)
    if kind == "cells" and (between is None or (between[0] >= logits.shape[2] and between[1] >= logits.shape[3])):
        from rtseg.deploy.class_map.margin_cpu import class_map_and_margin_cpu

        rows = logits.detach().float().permute(0, 2, 3, 1).contiguous().numpy()
        classes, margins, _ = class_map_and_margin_cpu(rows, size, between, threads=torch.get_num_threads())
        return torch.from_numpy(classes), torch.from_numpy(margins)
    if kind == "triton" and between is None:
        from rtseg.deploy.class_map.triton import class_map_and_margin_triton

        return class_map_and_margin_triton(logits, size)
    return class_map_and_margin_by_rows(logits, size, between)


def winner_probability(logits: Tensor, size: tuple[int, int], *, between: tuple[int, int] | None = None) -> Tensor:
    """The probability of every pixel's class: the softmax of the upsampled logits over all classes.

    All classes are upsampled, some rows at a time, so it takes longer than the class map by far.

    Args:
        logits: (B, K, h, w), finite, of any precision.
        size: (H, W), larger or smaller.
        between: a size to which the logits are upsampled first; None for one step.

    Returns:
        (B, H, W) float32, from 1 / K to 1, on the same device.

    Raises:
        UserError: logits of another shape, or a size below 1.
    """
    _check_sizes(logits, size, between)
    found = torch.empty((len(logits), *size), device=logits.device)
    for rows, values in upsampled_rows(logits, size, None if between == size else between):
        found[:, rows] = values.softmax(1).amax(1)
    return found


def _check_sizes(logits: Tensor, *sizes: tuple[int, int] | None) -> None:
    """Raises: UserError where there is nothing to upsample, or nothing to upsample it to."""
    if logits.ndim != 4 or 0 in logits.shape or not logits.is_floating_point():
        raise UserError(
            f"logits are (batch, classes, height, width) in floats, each at least 1, not {tuple(logits.shape)} in "
            f"{logits.dtype}"
        )
    for size in sizes:
        if size is not None and (len(size) != 2 or min(size) < 1):
            raise UserError(f"the size of a class map is (height, width), each at least 1, not {tuple(size)}")


def check_logits(logits: Tensor) -> None:
    """Raises:
    UserError: they are not finite: class 0 would be the largest of NaN. It waits for the device.
    """
    # NumPy looks in this thread alone. PyTorch's threads would wait for more work at full speed for some milliseconds,
    # on the cores that the engine needs for the next image.
    numpys = logits.device.type == "cpu" and logits.dtype == torch.float32
    finite = np.isfinite(logits.detach().numpy()).all() if numpys else logits.isfinite().all()
    if not bool(finite):
        raise UserError(
            "the network's logits are not finite, so that what they predict means nothing. Give another checkpoint"
        )


def class_map_kind(device: torch.device) -> str:
    """Which way `class_map` takes: "cells", "triton" or "groups"."""
    if device.type == "cpu":
        return "cells"
    if device.type == "cuda":
        from rtseg.deploy.class_map import triton

        if triton.available():
            return "triton"
    return "groups"


def class_map_by_groups(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """`class_map` in PyTorch's own operations, on any device: some classes at a time, so that the memory is bounded."""
    batch, num_classes = logits.shape[:2]
    logits = logits.float().contiguous()
    dtype = torch.uint8 if num_classes <= 256 else torch.int16
    at_once = max(1, _GROUP_ELEMENTS // (batch * size[0] * size[1]))
    best, classes = _best_class(logits[:, :at_once], size)
    classes = classes.to(dtype)
    for first in range(at_once, num_classes, at_once):
        value, index = _best_class(logits[:, first : first + at_once], size)
        better = value > best
        best = torch.where(better, value, best)
        classes = torch.where(better, (index + first).to(dtype), classes)
    return classes


def _best_class(logits: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    value, index = F.interpolate(logits, size=size, mode="bilinear", align_corners=False).max(1)
    return value, index
