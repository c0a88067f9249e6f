"""A file, a PIL image or an array -> (H, W, 3) uint8 RGB, upright."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageOps

from rtseg.data.files import LAB_REPAIR, read_image
from rtseg.errors import UserError

Picture: TypeAlias = str | Path | Image.Image | np.ndarray


def listed(images: Sequence[Picture]) -> Sequence[Picture]:
    """The images, as given.

    Raises:
        UserError: it is one image and no list.
    """
    if isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4):
        raise UserError("batch takes a list of images; for one, give it to the predictor: segment(image)")
    return images


def to_rgb(image: str | Path | Image.Image | np.ndarray) -> np.ndarray:
    """The pixels of what a predictor takes, (H, W, 3) uint8 RGB.

    Raises:
        UserError: a file that cannot be read, or an array of another type or shape.
    """
    if isinstance(image, str | Path):
        path = Path(image).expanduser()
        if path.is_dir():
            raise UserError(f"'{path}' is a folder; one image is expected here, `rtseg predict` takes folders")
        return read_image(path)
    if isinstance(image, Image.Image):
        return _pil_to_rgb(image)
    if not isinstance(image, np.ndarray):
        raise UserError(f"an image is a path, a PIL image or a numpy array, not {type(image).__name__}")
    if image.size == 0:
        raise UserError(f"the image is empty: the array has the shape {image.shape}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
            f"an image as array is (height, width, 3) uint8 RGB, not {image.dtype} {image.shape}. "
            "Scale grey levels to 0..255, put channels last, repeat a grey channel three times, drop alpha"
        )
    return image


def _pil_to_rgb(image: Image.Image) -> np.ndarray:
    try:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I") or upright.mode == "F":  # PIL's own conversion would clip at 255
            levels = np.asarray(upright)
            unknown = levels.dtype.kind == "f" or levels.min() < 0 or levels.max() > 65535
            if unknown or (upright.mode == "I" and levels.max() < 256):  # else 8 bit would be black as 16 bit
                raise UserError(
                    f"grey levels of a PIL image of mode {upright.mode} have no known range; convert it to L "
                    "(8 bit) or I;16 (16 bit)"
                )
            return np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, -1)
        if upright.mode == "LAB":
            raise UserError(f"a PIL image of mode LAB: {LAB_REPAIR}")
        return np.asarray(upright.convert("RGB"))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"the PIL image of mode {image.mode} cannot be read as RGB: {error}") from None
