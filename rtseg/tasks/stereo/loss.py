"""The loss of a stereo training: smooth L1 of three disparity maps, where the disparity is known and in reach.

B batch, H, W height and width.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from rtseg.training.losses.base import share_of_all

WEIGHTS = (0.5, 0.7, 1.0)  # the authors', the last map's the largest


def in_reach(disparity: Tensor, max_disparity: int) -> Tensor:
    """Which pixels count: those whose disparity is known, 0 stands for unknown, and below `max_disparity`."""
    return (disparity > 0) & (disparity < max_disparity)


def stereo_loss(outputs: Sequence[Tensor], disparity: Tensor, max_disparity: int) -> dict[str, Tensor]:
    """The weighted loss of each map, by name, over the pixels of all processes; 0 where none counts.

    Args:
        outputs: three maps (B, H, W).
        disparity: (B, H, W), in pixels.
    """
    counts = in_reach(disparity, max_disparity)
    number = share_of_all(counts.sum().float())
    return {
        f"disparity{k}": weight * F.smooth_l1_loss(output[counts], disparity[counts], reduction="sum") / number
        for k, (weight, output) in enumerate(zip(WEIGHTS, outputs, strict=True), 1)
    }
