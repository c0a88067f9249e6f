"""What the images of a data set hold: how many channels, how they are normalised, and which of them are shown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from rtseg.data.header import IMAGE_SUFFIXES, MOST_CHANNELS
from rtseg.errors import UserError

_REPAIR = "`rtseg check-data` prints them (docs/channels.md)"
CHANNEL_SUFFIXES = (".npy",)  # beside those of images
_SPREAD = 2  # standard deviations around the mean that go from black to white


@dataclass(frozen=True)
class ImageSpace:
    """Images of a data set.

    Attributes:
        channels: that the files have, at their full depth (`rtseg.data.channels`); None: RGB of 8 bits.
        mean, std: of each channel, in units of 1; None: those of the network, where there are three channels.
        shown: the three channels that overlays show as red, green and blue; None: the first three, or the first alone.

    Raises:
        UserError: values that contradict each other.
    """

    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    shown: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std", "shown"):
            if isinstance(values := getattr(self, name), Sequence):
                object.__setattr__(self, name, tuple(values))
        check_channels("channels", self.in_channels)
        number = self.in_channels
        for name, values in (("mean", self.mean), ("std", self.std)):
            good = isinstance(values, tuple) and len(values) == number and all(map(_is_number, values))
            if values is not None and not (good and (name == "mean" or min(values) > 0)):
                what = "one number" if number == 1 else f"{number} numbers"
                where = " where no `channels` is given with it" * (self.channels is None)
                raise UserError(
                    f"`{name}` is {what}{' above 0' * (name == 'std')}{where}, one a channel in units of 1, not "
                    f"{_written(values)}; {_REPAIR}"
                )
        if (self.mean is None) != (self.std is None):
            raise UserError(f"give `mean` and `std` together; {_REPAIR}")
        good = isinstance(self.shown, tuple) and len(self.shown) == 3 and all(_is_index(k, number) for k in self.shown)
        if self.shown is not None and not good:
            raise UserError(f"`shown` is three channels of 0 to {number - 1}, not {_written(self.shown)}")

    @property
    def in_channels(self) -> int:
        """How many channels a network of these images takes."""
        return 3 if self.channels is None else self.channels

    def over(self, other: "ImageSpace") -> "ImageSpace":
        """What is said here, and for the rest what `other` says.

        Raises:
            UserError: they have two numbers of channels.
        """
        if self.channels is not None and other.channels not in (None, self.channels):
            raise UserError(
                f"data.channels={self.channels}, but the data set's YAML says channels: {other.channels}; leave one out"
            )
        given = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        if given.get("channels") and other.channels is None and given["channels"] != 3:
            other = ImageSpace()
        return replace(other, **given)

    def check_normalised(self) -> None:
        """Raises: UserError where mean and standard deviation are not known."""
        if self.mean is None and self.in_channels != 3:
            raise UserError(
                f"images of {self.in_channels} channel{'s' * (self.in_channels != 1)} need data.mean and data.std, one "
                f"number a channel in units of 1, or `mean` and `std` in the data set's YAML; {_REPAIR}"
            )


def shown_image(
    levels: np.ndarray, shown: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    """(H, W, C) grey levels -> three of the channels as (H, W, 3) uint8 RGB, for people.

    Each goes from black at two standard deviations below its mean to white at two above: 12 bits in a file of 16 would
    be black otherwise, and floats may have any range.
    """
    low, span = (np.array([values[k] for k in shown], np.float32) for values in (mean, std))
    low, span = 255 * (low - _SPREAD * span), 255 * 2 * _SPREAD * span
    return ((levels[..., list(shown)] - low) * (255 / span) + 0.5).clip(0, 255).astype(np.uint8)


def image_suffixes(channels: int | None) -> tuple[str, ...]:
    """How names of image files end: with a number of channels also those of arrays."""
    return (*IMAGE_SUFFIXES, *CHANNEL_SUFFIXES) if channels is not None else IMAGE_SUFFIXES


def check_channels(name: str, channels: Any) -> None:
    """Raises: UserError where no image has so many channels."""
    if isinstance(channels, bool) or not isinstance(channels, int) or not 1 <= channels <= MOST_CHANNELS:
        raise UserError(f"{name}={channels!r} is not a whole number from 1 to {MOST_CHANNELS}; RGB has 3")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_index(value: Any, number: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < number


def _written(value: Any) -> str:
    text = str(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 80 else f"{text[:79]}…"
