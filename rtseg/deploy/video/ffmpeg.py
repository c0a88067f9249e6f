"""FFmpeg as a program of its own, which is fed with raw images: nothing of its GPL code is linked."""

import os
import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from rtseg.deploy.video.matroska import before_image, beginning
from rtseg.disk import refusal
from rtseg.errors import UserError

_SAID = 3  # last lines that are quoted
_TIMES = ["-enc_time_base", "1:120000"]  # seconds; in it, frames of all usual rates last a whole number
QUIET = ["-y", "-nostdin", "-hide_banner", "-loglevel", "error"]


def ffmpeg_program() -> str | None:
    """$RTSEG_FFMPEG, else that of the package imageio-ffmpeg, else the system's; None where there is none.

    Raises:
        UserError: RTSEG_FFMPEG names no program.
    """
    if own := os.environ.get("RTSEG_FFMPEG"):
        if (found := shutil.which(os.path.expanduser(own))) is None:
            raise UserError(f"RTSEG_FFMPEG='{own}' is no program that can be run; give ffmpeg's path")
        return found
    try:
        from imageio_ffmpeg import get_ffmpeg_exe

        return str(get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or without a program for this system
        return shutil.which("ffmpeg")


class RawImages:
    """Images of one size, each with its time, into a file that ffmpeg encodes.

    Args:
        program: ffmpeg.
        file: is made or replaced.
        size: (height, width).
        rate: images per second, about, see `rtseg.deploy.video.matroska`.
        pixels: ffmpeg's name of their format, as bgr24.
        options: for the file: codec and container.
    """

    def __init__(
        self, program: str, file: Path, size: tuple[int, int], rate: float, pixels: str, options: list[str]
    ) -> None:
        self._file, self._ended = file, False
        try:  # else an older film would be taken for this one, or the target of a link be overwritten
            file.unlink(missing_ok=True)
        except OSError as error:
            raise refusal(error, file) from None
        self._errors = TemporaryFile()  # noqa: SIM115  (a pipe that nobody reads would stop it when it is full)
        try:
            self._process = subprocess.Popen(
                [program, *QUIET, "-f", "matroska", "-i", "pipe:0", *_TIMES, *options, f"file:{file.absolute()}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                start_new_session=True,  # Ctrl-C in a terminal is for rtseg, which ends the film
            )
        except OSError as error:
            raise UserError(f"'{program}' cannot be run: {error.strerror}; set RTSEG_FFMPEG to ffmpeg") from None
        self._send(beginning(size, rate, pixels))

    def write(self, image: np.ndarray, at: float) -> None:
        """Adds an image that is shown `at` seconds. Raises: UserError where ffmpeg has died; it has its last lines."""
        self._send(before_image(at, image.nbytes))
        self._send(np.ascontiguousarray(image).data)

    def _send(self, content: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
        except OSError:
            self._end()
            raise self._died() from None

    def close(self) -> None:
        """Ends the file. Raises: UserError where ffmpeg fails, unless `write` said so already."""
        if not self._ended and (self._end() != 0 or not self._file.is_file()):  # `true` is no ffmpeg, and succeeds
            raise self._died()

    def _end(self) -> int:
        assert self._process.stdin is not None
        self._ended = True
        with suppress(OSError):  # what Python still held could not be sent
            self._process.stdin.close()
        return self._process.wait()

    def _died(self) -> UserError:
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        if found := re.search(r"Unknown encoder '(\S+)'", text):  # some systems leave out what is under patents
            return UserError(
                f"this ffmpeg has no encoder {found[1]}, and '{self._file}' is not written: pip install 'rtseg[video]' "
                "brings one that has, RTSEG_FFMPEG names another"
            )
        lines = text.splitlines()[-_SAID:]
        said = f"its last lines: {' / '.join(lines)}" if lines else f"status {self._process.returncode}, no message"
        return UserError(f"ffmpeg stopped while it wrote '{self._file}' ({said}); what is written so far is kept")
