"""Image normalisation as a layer: training, evaluation and a deployed network share it. Grey levels in, floats out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """(B, C, H, W) grey levels 0..255, uint8 or float, to (x / 255 - mean) / std in float.

    Args:
        mean, std: of each channel, in units of 1.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        # Not in the state dict: the model card states mean and std, weights of others have no such entry.
        self.register_buffer("scale", 1 / (255 * torch.tensor(std)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1), persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, image: Tensor) -> Tensor:
        return torch.addcmul(self.shift, image.to(self.scale.dtype), self.scale)
