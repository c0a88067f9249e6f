"""The files of a film's results: the overlay for the eye, and the class maps without loss."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from rtseg.deploy.drawing.png import compress_rows, grey_png
from rtseg.deploy.folder.stages import digits
from rtseg.deploy.video.ffmpeg import RawImages
from rtseg.deploy.video.reader import FilmReader, name_for_opencv
from rtseg.deploy.video.sound import rewrapped
from rtseg.disk import refusal
from rtseg.errors import UserError
from rtseg.output.folders import beside, make_folder, write_whole

# A fragment a second: a film whose writing is cut off, by a full disk or a lost machine, plays up to its last fragment.
_OVERLAY = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
_OVERLAY += ["-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "1000000", "-f", "mp4"]
_LOSSLESS = ["-c:v", "ffv1", "-level", "3", "-g", "1", "-f", "matroska"]  # each frame alone, so that any can be sought
_ROOM = 2**23  # bytes that OpenCV's films leave free on the disk: the index of a million frames
_ANY = 2**31  # pixels
_LATE = 0.1  # seconds that nobody minds


class FilmFile(Protocol):
    """A film, or what stands for one, that grows by a frame at a time."""

    def write(self, frame: np.ndarray, at: float) -> None:
        """Adds a frame that is shown `at` seconds after the first. Raises: UserError where it cannot be written."""

    def close(self) -> str | None:
        """Ends the film. Returns: what there is to say of it, if anything. Raises: UserError."""


class H264:
    """The overlay as browsers play it: H.264, yuv420p, even sides, the index first, with the sound of its film.

    It grows under its own name in fragments, see `_OVERLAY`; at the end it is wrapped again.

    Args:
        program: ffmpeg.
        sound: the film that the sound comes from; None for none.
        file: is replaced.
        size: (height, width) of the frames.
        rate: images per second, about.
    """

    def __init__(self, program: str, sound: Path | None, file: Path, size: tuple[int, int], rate: float) -> None:
        self._program, self._sound, self._file, self._last, self._rate = program, sound, file, 0.0, rate
        self._images = RawImages(program, file, even(size), rate, "bgr24", _OVERLAY)

    def write(self, frame: np.ndarray, at: float) -> None:
        """(H, W, 3) uint8 BGR."""
        self._images.write(padded(frame), at)
        self._last = at

    def close(self) -> str | None:
        """Ends the film. Where the disk has no room for it a second time, it keeps its fragments, which play too."""
        self._images.close()
        aside = beside(self._file, "-unfinished")
        try:
            there, note = rewrapped(self._program, self._file, aside, self._sound, self._last + 1 / self._rate)
            if there:
                aside.replace(self._file)
                return note
            return "its fragments are kept, without sound, as there was no room to write it again" if note else None
        finally:
            aside.unlink(missing_ok=True)


class Mp4v:
    """The overlay where there is no ffmpeg: MPEG-4 Part 2 by OpenCV, which players show and browsers do not.

    Args:
        file: is replaced.
        size: (height, width) of the frames.
        rate: images per second at which all of it plays.
    """

    def __init__(self, file: Path, size: tuple[int, int], rate: float) -> None:
        height, width = even(size)
        self._file, self._rate, self._frames, self._late = file, rate, 0, 0.0
        self._film = cv2.VideoWriter(name_for_opencv(file), cv2.VideoWriter.fourcc(*"mp4v"), rate, (width, height))
        if not self._film.isOpened():
            raise UserError(
                f"'{file}' cannot be written: this OpenCV has no encoder; pip install 'rtseg[video]', or --no-overlay"
            )

    def write(self, frame: np.ndarray, at: float) -> None:
        """(H, W, 3) uint8 BGR. Raises: UserError while there is still room for the index that comes last."""
        if shutil.disk_usage(self._file.parent).free < _ROOM:  # OpenCV does not say what it could not write
            raise refusal(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), self._file)
        self._film.write(padded(frame))
        self._late = max(self._late, abs(at - self._frames / self._rate))
        self._frames += 1

    def close(self) -> str | None:
        """Ends the film.

        Returns:
            A sentence where it plays at other times than its source.

        Raises:
            UserError: it does not have all frames: a quota or a limit was in the way.
        """
        self._film.release()
        try:
            there = FilmReader(self._file, _ANY).stated
        except UserError:
            there = 0
        if there < self._frames:
            raise UserError(
                f"'{self._file}' has {there} of its {self._frames} frames: OpenCV could not write them for a quota or "
                "a limit on files (ulimit -f); pip install 'rtseg[video]' brings ffmpeg, which leaves films that play"
            )
        if self._late <= max(_LATE, 1 / self._rate):
            return None
        return f"its frame rate varies, and its overlay plays at {digits(self._rate)} images/s: ffmpeg would keep times"


class Lossless:
    """Class maps as a film: FFV1 in Matroska, grey, each pixel an id."""

    def __init__(self, program: str, file: Path, frame: np.ndarray, rate: float) -> None:
        pixels = "gray" if frame.dtype == np.uint8 else "gray16le"
        self._images = RawImages(program, file, (frame.shape[0], frame.shape[1]), rate, pixels, _LOSSLESS)

    def write(self, frame: np.ndarray, at: float) -> None:
        """(H, W) ids, uint8 or uint16."""
        self._images.write(frame.astype("<u2", copy=False) if frame.dtype == np.uint16 else frame, at)

    def close(self) -> None:
        """Ends the film."""
        self._images.close()


class PngFolder:
    """Frames as files of a folder, 000000.png and on."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._frames = folder, 0
        remove_result(folder)
        make_folder(folder)

    def write(self, frame: np.ndarray, at: float) -> None:
        """(H, W) ids, uint8 or uint16; or (H, W, 3) uint8 BGR."""
        if frame.ndim == 2:
            encoded = grey_png(frame, compress_rows(frame))
        else:
            encoded = cv2.imencode(".png", frame, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
        write_whole(self._folder / f"{self._frames:06d}.png", encoded)
        self._frames += 1

    def close(self) -> None:
        """Nothing is left to be done."""


def remove_result(place: Path) -> None:
    """Removes a film or the PNG files of a folder that an earlier run left, and which would show another film."""
    try:
        if not place.is_dir():
            place.unlink(missing_ok=True)
        elif old := list(place.glob("[0-9]" * 6 + "*.png")):
            for file in old:
                file.unlink()
            with suppress(OSError):  # something of somebody else is in it
                place.rmdir()
    except OSError as error:
        raise refusal(error, place) from None


def even(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) with each side even, as yuv420p has it."""
    return size[0] + size[0] % 2, size[1] + size[1] % 2


def padded(frame: np.ndarray) -> np.ndarray:
    """The frame with its last row and column repeated where a side is odd."""
    height, width = frame.shape[:2]
    if not height % 2 and not width % 2:
        return frame
    return cv2.copyMakeBorder(frame, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
