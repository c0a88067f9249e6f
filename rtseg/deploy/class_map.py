"""Logits at stride 8 -> class map at image size: bilinear (align_corners=False, float32), then the best class.

B batch, K classes, h, w the size of the logits, H, W the size of the class map.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_CPU_CLASSES = 8  # that are upsampled together: their maps stay in the cache, where all K would go through main memory
_GPU_ELEMENTS = 2**28  # of one upsampled chunk, 1 GiB; below it one launch for all classes is the fastest


def class_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of every pixel.

    Equal to `F.interpolate(logits.float().contiguous(), size, mode="bilinear").argmax(1)`, the lower class where two
    are equal; but the K x H x W tensor, which for 150 classes is 600 bytes a pixel, is never held.

    Args:
        logits: (B, K, h, w).
        size: (H, W).

    Returns:
        (B, H, W), uint8 for up to 256 classes, int16 above.
    """
    batch, num_classes = logits.shape[:2]
    # PyTorch's bilinear differs in the last bits between memory formats: the plain one is the reference.
    logits = logits.float().contiguous()
    dtype = torch.uint8 if num_classes <= 256 else torch.int16
    fits = _GPU_ELEMENTS // (batch * size[0] * size[1])
    at_once = _CPU_CLASSES if logits.device.type == "cpu" else max(_CPU_CLASSES, fits)
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
