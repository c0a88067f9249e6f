"""One image with its objects, from the files to what the network takes.

H, W height and width of an image, N its objects.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from rtseg.data.coco_file import CocoFile
from rtseg.data.coco_masks import draw
from rtseg.data.files import read_image
from rtseg.errors import UserError


class Objects(NamedTuple):
    """The objects of an image.

    Attributes:
        boxes: (N, 4) float32, left, top, right, bottom in pixels.
        labels: (N,) int64, classes 0..K-1.
        masks: (N, H, W) bool.
        crowd: (N,) bool, whether it stands for many.
        area: (N,) float32, in pixels.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor
    crowd: Tensor
    area: Tensor

    def trained(self) -> "Objects":
        """Those that a network is trained on: single ones, whose box and mask are not empty."""
        sides = self.boxes[:, 2:] - self.boxes[:, :2]
        chosen = ~self.crowd & (sides > 0).all(1) & self.masks.flatten(1).any(1)
        return Objects(*(value[chosen] for value in self))

    def flipped(self) -> "Objects":
        """As a mirror shows them, left for right."""
        left, top, right, bottom = self.boxes.unbind(1)
        width = self.masks.shape[2]
        boxes = torch.stack([width - right, top, width - left, bottom], 1)
        return self._replace(boxes=boxes, masks=self.masks.flip(2))


class Sample(NamedTuple):
    """An image (3, H, W) uint8 RGB, its objects, and the name of its file."""

    image: Tensor
    objects: Objects
    name: str


class Batch(NamedTuple):
    """Images of any sizes with what a network is trained on, as plain lists: one entry an image, see `Objects`."""

    image: Sequence[Tensor]
    boxes: Sequence[Tensor]
    labels: Sequence[Tensor]
    masks: Sequence[Tensor]
    name: Sequence[str]


class CocoImages(Dataset[Sample]):
    """The images of a file with all of their annotations, crowds included."""

    def __init__(self, coco: CocoFile) -> None:
        self.coco = coco

    def __len__(self) -> int:
        return len(self.coco.images)

    def __getitem__(self, place: int) -> Sample:
        """Raises: UserError where the file cannot be read, or its size is not that of the annotation file."""
        _, path, size = self.coco.images[place]
        image = read_image(path)
        if image.shape[:2] != size:
            raise UserError(
                f"'{path}' has {image.shape[0]}x{image.shape[1]} pixels (height x width), its annotations are for "
                f"{size[0]}x{size[1]}: correct height and width in the annotation file, or "
                "leave the image out with --data.broken=skip"
            )
        annotations = self.coco.annotations(place)
        masks = np.zeros((len(annotations), *size), bool)
        for k, annotation in enumerate(annotations):
            masks[k] = draw(annotation.segmentation, size)
        areas = [mask.sum() if own.area is None else own.area for own, mask in zip(annotations, masks, strict=True)]
        objects = Objects(
            torch.tensor([own.box for own in annotations], dtype=torch.float32).reshape(-1, 4),
            torch.tensor([own.label for own in annotations], dtype=torch.int64),
            torch.from_numpy(masks),
            torch.tensor([own.crowd for own in annotations], dtype=torch.bool),
            torch.tensor(areas, dtype=torch.float32),
        )
        return Sample(torch.from_numpy(image.transpose(2, 0, 1).copy()), objects, path.name)


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of any sizes -> a batch."""
    images, objects, names = zip(*samples, strict=True)
    boxes, labels, masks, _, _ = zip(*objects, strict=True)
    return Batch(list(images), list(boxes), list(labels), list(masks), list(names))
