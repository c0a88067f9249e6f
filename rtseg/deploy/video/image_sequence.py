"""Numbered images as the frames of a film, which are read as `rtseg predict` reads images."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rtseg.deploy.pixels import read_pixels
from rtseg.deploy.video.reader import Turn
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.numbered import no_numbered, numbered_files
from rtseg.terminal import counted

_RATE = 25.0


class ImageSequence:
    """As `rtseg.deploy.video.reader.FilmReader`; all images are as large as the first, `rate` a second.

    Args:
        pattern: see `rtseg.numbered`.
        card: of the network that takes them.
        max_pixels: an image of more is refused.
        rate: images per second; None for 25.

    Raises:
        UserError: there are none, or the first cannot be read.
    """

    codec = "images"

    def __init__(self, pattern: Path, card: ModelCard, max_pixels: int, rate: float | None) -> None:
        self._pattern, self._card, self._most, self.rate = pattern, card, max_pixels, rate or _RATE
        files = numbered_files(pattern)
        if not files:
            raise UserError(no_numbered(pattern))
        self._files = list(files.values())
        self._lost = max(files) - min(files) + 1 - len(files)
        self.stated, self.frames = len(files), 0
        height, width = read_pixels(self._files[0], card, max_pixels).shape[:2]
        self.size = (height, width)

    def turns(self) -> Iterator[Turn]:
        """The turn of each image."""
        for number in range(len(self._files)):
            self.frames = number + 1
            yield Turn(number, number / self.rate)

    def frame(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the image whose turn it is. Raises: UserError where it is none, or of another size."""
        path = self._files[self.frames - 1]
        image = read_pixels(path, self._card, self._most)
        if image.shape[:2] != self.size:
            here, first = ("{1}x{0}".format(*size) for size in (image.shape[:2], self.size))
            raise UserError(f"'{path.name}' has {here} pixels, and the first one {first} (width x height)")
        return image

    def notes(self) -> list[str]:
        """What is to be said of the images at their end."""
        if not self._lost:
            return []
        verb = "is" if self._lost == 1 else "are"
        lost = f"{counted(self._lost, 'number')} between the first and the last {verb} missing"
        return [f"{self._pattern.name}: {lost}"]

    def close(self) -> None:
        """Nothing is left to be done."""
