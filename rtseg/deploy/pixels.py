"""What a predictor takes, as the pixels that its network was trained on: RGB of 8 bits, or channels at full depth."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from rtseg.data.channels import ChannelNumberError, grey_levels, read_channels
from rtseg.data.files import MAX_PIXELS, read_image
from rtseg.data.image_space import shown_image
from rtseg.deploy.rgb import Picture, to_rgb
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

_PLAIN_MODES = {"L": 1, "1": 1, "I;16": 1, "I;16L": 1, "I;16B": 1, "F": 1, "LA": 2, "RGB": 3, "RGBA": 4}
_PALETTES = {"P": "RGB", "PA": "RGBA"}


def read_pixels(
    path: Path,
    card: ModelCard,
    max_pixels: int = MAX_PIXELS,
    admit: Callable[[int], object] = lambda pixels: None,
) -> np.ndarray:
    """An image file as a network takes it, (H, W, C). Args and errors: see `read_channels`."""
    if card.channels is None:
        return read_image(path, max_pixels, admit)
    try:
        return read_channels(path, card.channels, max_pixels, admit)
    except ChannelNumberError as error:
        raise UserError(
            f"{error.what}, and this network takes {card.channels}: give images as those that it was trained on"
        ) from None


def to_pixels(image: Picture, card: ModelCard) -> np.ndarray:
    """The pixels of what a predictor takes: (H, W, 3) uint8 RGB, or with `card.channels` grey levels (H, W, C).

    An array of channels is taken as if it came from an `.npy` file, see `read_channels`.

    Raises:
        UserError: a file that cannot be read, or an image of another type, shape or number of channels.
    """
    if card.channels is None:
        return to_rgb(image)
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        if path.is_dir():
            raise UserError(f"'{path}' is a folder; one image is expected here, `rtseg predict` takes folders")
        return read_pixels(path, card)
    if isinstance(image, Image.Image):
        stored = _stored(image)
    elif isinstance(image, np.ndarray):
        stored = image
    else:
        raise UserError(f"an image is a path, a PIL image or a numpy array, not {type(image).__name__}")
    stored = stored[..., None] if stored.ndim == 2 else stored
    if stored.ndim != 3 or stored.shape[2] != card.channels or not stored.size:
        raise UserError(
            f"this network takes images (height, width, {card.channels}), not {stored.shape}: put channels last, and "
            "give those that it was trained on"
        )
    if stored.dtype.kind != "f" and (stored.dtype.kind != "u" or stored.dtype.itemsize > 2):
        raise UserError(
            "this network takes images of uint8, uint16 or floats in the units of its training files, not "
            f"{stored.dtype}"
        )
    return grey_levels(stored, "the image")


def _stored(image: Image.Image) -> np.ndarray:
    """A PIL image, upright, as a file of it would hold it. Raises: UserError for modes without plain channels."""
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode in _PALETTES:
            clear = "transparency" in upright.info
            upright = upright.convert("RGBA" if clear else _PALETTES[upright.mode])
        if upright.mode not in _PLAIN_MODES:
            raise UserError(
                f"a PIL image of mode {image.mode} has no plain channels; convert it to one of "
                f"{', '.join(sorted(_PLAIN_MODES))}"
            )
        return np.asarray(upright.convert("L") if upright.mode == "1" else upright)
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"the PIL image of mode {image.mode} cannot be read: {error}") from None


def as_input(image: np.ndarray, card: ModelCard) -> Tensor:
    """(H, W, C) pixels -> a copy of the type that engines take: uint8 RGB, or float32 levels of channels."""
    return torch.from_numpy(np.array(image, None if card.channels is None else np.float32, order="C"))


def example_input(card: ModelCard, shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Zeros (*shape, C) of the type that engines take."""
    dtype = torch.uint8 if card.channels is None else torch.float32
    return torch.zeros(*shape, card.in_channels, dtype=dtype, device=device)


def resized(image: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
    """(H, W, C) -> the same at `size`, (height, width); OpenCV drops a single channel."""
    found = cv2.resize(image, size[::-1], interpolation=interpolation)
    return found if found.ndim == image.ndim else found[..., None]


def drawn_levels(image: np.ndarray, card: ModelCard) -> np.ndarray:
    """(H, W, 3) uint8 of a drawing -> (H, W, C) float32 grey levels as the network of a card may see them.

    Its colours in turn, black at two standard deviations below a channel's mean and white at two above.
    """
    mean, std = (255 * np.array(values, np.float32) for values in (card.mean, card.std))
    colours = image[..., [k % 3 for k in range(card.in_channels)]].astype(np.float32)
    return np.ascontiguousarray(mean + (colours / 127.5 - 1) * 2 * std, np.float32)


def for_people(image: np.ndarray, card: ModelCard) -> np.ndarray:
    """(H, W, C) pixels -> (H, W, 3) uint8 RGB for overlays, see `shown_image`."""
    return image if card.channels is None else shown_image(image, card.shown_channels, card.mean, card.std)
