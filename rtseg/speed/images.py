"""The input of a timing: given images or a drawn texture, in batches of a row's shape.

B batch, H, W image size, N images.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from rtseg.deploy.engines import Shape
from rtseg.deploy.pixels import as_input, drawn_levels, resized
from rtseg.models.model_card import ModelCard


class Images:
    """Images that are resized to whatever shape is asked for.

    Args:
        given: (H, W, C) of any size, taken in turn; none takes a drawn texture.
        calibration: for the ranges of int8; `given` where there are none.
    """

    def __init__(self, given: Sequence[np.ndarray], calibration: Sequence[np.ndarray], device: torch.device) -> None:
        self.given = given
        self._calibration = calibration
        self._device = device
        self._batches: dict[tuple[Shape, str], list[Tensor]] = {}

    def batches(self, shape: Shape, card: ModelCard) -> list[Tensor]:
        """(B, H, W, C) on the device, as engines of a card's network take them; each begins with another image."""
        key = shape, "" if card.channels is None else f"{card.channels} {card.mean} {card.std}"
        if key not in self._batches:
            drawn = texture(shape[1:])
            images = [as_input(_resize(image, shape), card).numpy() for image in self.given] or [
                drawn if card.channels is None else drawn_levels(drawn, card)
            ]
            # Where images are fewer than the batch, they come again, shifted.
            many = [
                np.roll(images[i % len(images)], 7 * (i // len(images)), axis=1)
                for i in range(shape[0] + len(images) - 1)
            ]
            self._batches[key] = [
                torch.from_numpy(np.stack(many[i : i + shape[0]])).to(self._device) for i in range(len(images))
            ]
        return self._batches[key]

    def calibration(self, shape: Shape) -> tuple[Tensor, str]:
        """(N, H, W, 3) uint8 images for int8, and which they are."""
        images = np.stack([_resize(image, shape) for image in self._calibration or self.given])
        number = len(images)
        which = f"{number} training images" if self._calibration else f"the {number} images that it is compared on"
        return torch.from_numpy(images), which


def _resize(image: np.ndarray, shape: Shape) -> np.ndarray:
    if image.shape[:2] == shape[1:]:
        return image
    # Where an image shrinks the other filters would alias it into a texture.
    return resized(image, (shape[1], shape[2]), cv2.INTER_AREA)


def texture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8: gradients, waves and noise, the same on every call."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    waves = [np.sin(x / 3**k + k) * np.cos(y / 2**k - k) for k in range(1, 4)]
    noise = np.random.default_rng(0).normal(0, 12, (*size, 3))
    image = 128 + 40 * np.stack(waves, -1) + 50 * ((x + y) / (size[0] + size[1]) - 0.5)[..., None] + noise
    return image.clip(0, 255).astype(np.uint8)
