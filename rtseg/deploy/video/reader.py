"""The frames of a film file, one after another: what OpenCV decodes, upright and of one size."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from rtseg.data.kinds import kind_of
from rtseg.errors import UserError

_SLOWEST, _FASTEST = 0.001, 250.0  # images per second; what browsers record says 1,000 and more, and varies
_NO_RATE = 25.0  # images per second of a film whose header has no number that can be meant


class Turn(NamedTuple):
    """A frame that is to come: its number from 0, and the seconds from the first frame to it, which always grow."""

    number: int
    at: float


class Frames(Protocol):
    """Frames of one size, in their order, see `FilmReader`."""

    size: tuple[int, int]
    rate: float
    codec: str
    stated: int
    frames: int

    def turns(self) -> Iterator[Turn]:
        """The turn of each frame."""

    def frame(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the frame whose turn it is. Raises: UserError."""

    def notes(self) -> list[str]:
        """What is to be said at the end."""

    def close(self) -> None:
        """Lets go of the files."""


class FilmTimes:
    """The times of a film's frames after its first one, which always grow.

    Args:
        rate: images per second.

    Attributes:
        at: seconds from the first frame to the last one.
    """

    def __init__(self, rate: float) -> None:
        self._rate, self.at = rate, 0.0
        self._first: float | None = None
        self._last = 0.0

    def next(self, now: float) -> float:
        """Seconds from the first frame to the next one, which the film has at `now`."""
        if self._first is None:
            self._first = now
        elif now <= self._last:  # no times, or another film begins in this one
            self._first = now - self.at - 1 / self._rate
        self._last, self.at = now, now - self._first
        return self.at


class FilmReader:
    """Decodes a film in the order of its frames. One thread at a time may use it.

    Args:
        path: the film.
        max_pixels: a frame of more is refused.

    Attributes:
        size: (height, width) of every frame, upright.
        rate: images per second as the header has it, or 25.
        codec: its name, four characters.
        stated: frames that the header states, 0 where it states none; some containers only estimate it.
        frames: how many were decoded so far.

    Raises:
        UserError: it cannot be decoded, or its frames are too large.
    """

    def __init__(self, path: Path, max_pixels: int) -> None:
        self._path = path
        if path.is_file() and not path.stat().st_size:
            raise UserError(f"{path}: is empty; copy it once more, or leave it out")
        self._film = _opened(path)
        self.size = (self._number(cv2.CAP_PROP_FRAME_HEIGHT), self._number(cv2.CAP_PROP_FRAME_WIDTH))
        if not self._film.isOpened() or 0 in self.size:
            if (kind := kind_of(path)) is not None:
                raise UserError(f"{path}: is no film, but {kind}; fetch the film once more, or leave it out")
            raise UserError(
                f"{path}: cannot be read as a film: it has sound alone, is cut off before its index, damaged, or of a "
                "codec that OpenCV does not have; play it, and convert it with `ffmpeg -i FILM new.mp4`"
            )
        if math.prod(self.size) > max_pixels:
            raise UserError(
                f"{path}: its frames have {math.prod(self.size):,} pixels, more than {max_pixels:,}; give a larger "
                "--max-pixels, or make the film smaller"
            )
        rate = self._film.get(cv2.CAP_PROP_FPS)
        meant = _SLOWEST <= rate <= _FASTEST
        self.rate = rate if meant else _NO_RATE
        self.codec = int(self._film.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=True).decode("latin-1")
        self.stated = self._number(cv2.CAP_PROP_FRAME_COUNT) if meant else 0  # it may be estimated by the rate
        self.frames = 0
        self._times = FilmTimes(self.rate)

    def _number(self, key: int) -> int:
        value = self._film.get(key)
        return round(value) if 0 < value < 2**31 else 0

    def turns(self) -> Iterator[Turn]:
        """The turn of each frame. It is decoded then, and `frame` gives it before the next is asked for."""
        while self._film.grab():
            self.frames += 1
            yield Turn(self.frames - 1, self._times.next(self._film.get(cv2.CAP_PROP_POS_MSEC) / 1000))

    def frame(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB of the frame whose turn it is; OpenCV makes grey RGB, and other sizes that of the first.

        Raises:
            UserError: it cannot be decoded.
        """
        there, found = self._film.retrieve()
        if not there:
            raise UserError("it cannot be decoded")
        return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)

    def notes(self) -> list[str]:
        """What is to be said of the film at its end."""
        # The number is an estimate in some containers, so the time must fall short as well.
        if self.frames < self.stated and self._times.at < (self.stated - 1.5) / self.rate:
            return [
                f"{self._path.name}: ends at frame {self.frames} of the {self.stated} that its header states; those "
                f"{self.frames} are written"
            ]
        return []

    def close(self) -> None:
        """Lets go of the file."""
        self._film.release()


def name_for_opencv(path: Path) -> str:
    """The absolute path. Raises: UserError where it is not UTF-8: OpenCV's films end the process with such a name."""
    name = str(path.absolute())
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path}: its path is not UTF-8, which OpenCV cannot open; rename it") from None
    return name


def _opened(path: Path) -> cv2.VideoCapture:
    """OpenCV's reader through FFmpeg: others read names with % as sequences. Both say on stderr what they miss."""
    name = name_for_opencv(path)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    logging = cv2.utils.logging
    before = logging.getLogLevel()
    logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        return cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    finally:
        logging.setLogLevel(before)
