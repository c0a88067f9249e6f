"""An image file -> RGB, and the messages for one that is broken."""

import warnings
from functools import cache
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from rtseg.data.files import MAX_PIXELS
from rtseg.errors import UserError
from rtseg.terminal import say

Broken = Literal["refuse", "skip"]
REPLACED, LEFT_OUT = "another takes its place", "left out of the scores"  # what becomes of a broken file


class BrokenImage(Exception):
    """Why an image cannot be trained on: the message goes behind the file's name. `kind` is the word for a count."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def open_image(data: bytes) -> Image.Image:
    """The header of an image file. BrokenImage where it is not one, or holds more than one image."""
    if not data:
        raise BrokenImage("broken", "empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # refused below
            image = Image.open(BytesIO(data))
    except UnidentifiedImageError:
        raise BrokenImage("not an image", f"not an image ({len(data)} bytes)") from None
    except Exception as error:  # Pillow's readers meet damaged data with exceptions of any kind
        raise BrokenImage("broken", f"broken image ({error})") from None
    if image.width * image.height > MAX_PIXELS:
        raise BrokenImage("broken", f"too large, {image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")
    # A JPEG of several images (MPO) is a photograph with its preview.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", 0)
        raise BrokenImage("animated", f"animated image ({frames} frames)")
    return image


def decode(data: bytes) -> Image.Image:
    """An image file -> RGB; greyscale, CMYK, palette and alpha are converted. BrokenImage where it cannot be."""
    image = open_image(data)
    try:
        image.load()
        if image.mode == "RGB":
            return image
        if image.mode.startswith("I;16"):  # Pillow would cut 16 bits at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert("RGB")
    except Exception as error:  # as above
        raise BrokenImage("broken", f"broken image ({error})") from None


def repair(name: str, error: BrokenImage) -> UserError:
    """What is said of a file that the training came upon."""
    return UserError(
        f"{name}: {error}. Replace or remove it (python -m pretrain check-data finds all), or train on with "
        "--data.broken=skip"
    )


@cache
def name_skipped(name: str, why: str, instead: str) -> None:
    """Says on stderr, once in each process, that a broken file is skipped and what becomes of it."""
    say(f"data.broken=skip: {name}: {why}, {instead}", stderr=True)
