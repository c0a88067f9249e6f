"""What a network finds in an image.

H, W height and width of the image, N the number of objects that are found.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN

_INSIDE = 0.5  # least probability of a mask's pixel


class Detections(NamedTuple):
    """The objects that were found, the surest first.

    Attributes:
        boxes: (N, 4), left, top, right, bottom in pixels.
        labels: (N,) classes 0..K-1.
        scores: (N,) from 0 to 1.
        masks: (N, H, W) bool.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor


@torch.no_grad()
def detect(network: MaskRCNN, image: Tensor) -> Detections:
    """Runs a network, which is in evaluation, on an image (3, H, W) uint8 RGB on its device."""
    (found,) = network([image / 255])
    return Detections(found["boxes"], found["labels"] - 1, found["scores"], found["masks"][:, 0] > _INSIDE)
