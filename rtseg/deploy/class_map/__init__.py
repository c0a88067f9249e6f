"""Logits at the head's stride -> class map at image size: bilinear (align_corners=False, float32), then the best class.

For 150 classes the upsampled logits take 600 bytes a pixel, to write one: upsampling and argmax take longer than the
network. Here they are never held. On a CPU a compiled kernel looks only at the classes that can win a cell
(`cpu.py`), on CUDA one fused Triton kernel goes through all of them in registers (`triton.py`), elsewhere
classes are upsampled in groups. Numba and Triton take long to import, and only the one that is used is imported.

B batch, K classes, h, w the size of the logits, H, W the size of the class map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.errors import UserError

_GROUP_ELEMENTS = 2**28  # of one upsampled group of classes, 1 GiB


def class_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of every pixel, the lower one where two are equal.

    Equal to `F.interpolate(logits.float().contiguous(), size, mode="bilinear").argmax(1)` but for pixels where two
    classes are equal up to the rounding of the interpolation. Quickest where the classes of a position lie side by side
    in memory (channels_last).

    Args:
        logits: (B, K, h, w), finite, of any precision.
        size: (H, W), larger or smaller.

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above, on the same device.
    """
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


def check_logits(logits: Tensor) -> None:
    """Raises:
    UserError: they are not finite: class 0 would be the largest of NaN. It waits for the device.
    """
    if not bool(logits.isfinite().all()):
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
