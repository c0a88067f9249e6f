"""One image with its class, and batches of them.

S image size, B batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from pretrain.data.augment import Transform

IGNORED = -1  # the label of what must not be scored


class Sample(NamedTuple):
    """(3, S, S) uint8 RGB, its class, and 1 where it stands for a broken file.

    In evaluation that one's class is `IGNORED`, since another image in its place would be scored twice.
    """

    image: Tensor
    label: int
    skipped: int = 0


class Batch(NamedTuple):
    """(B, 3, S, S) uint8 RGB, (B,) int64, and how many of them stand for broken files."""

    image: Tensor
    label: Tensor
    skipped: int


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size -> a batch, channels last in memory, as Pillow's images are: bytes are only copied, by
    `default_collate` straight into what a worker shares with the training.
    """
    images, labels, skipped = zip(*samples, strict=True)
    image = default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return Batch(image, torch.tensor(labels), sum(skipped))


def ignored(transform: Transform) -> Sample:
    """What stands for a broken file in evaluation: black, in the shape of the others."""
    return Sample(transform(Image.new("RGB", (8, 8))), IGNORED, 1)
