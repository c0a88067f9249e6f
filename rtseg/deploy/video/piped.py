"""`rtseg predict NET film.mp4 -o -`: the frames of a film, drawn, as raw bytes into a pipe."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stdout, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.image_files import ImageFiles, Outputs
from rtseg.deploy.folder.predict_files import pixel_limit, stage_threads
from rtseg.deploy.folder.sources import split_films
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.film_results import Drawn, draw_frame
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.predict_film import NO_FPS, open_film, through_network
from rtseg.deploy.video.predict_live import live_through_network, open_live
from rtseg.errors import UserError
from rtseg.numbered import is_numbered
from rtseg.terminal import Console, say


class _PipeClosed(Exception):
    """Whoever reads the pipe wants no more."""


@contextmanager
def frames_on_stdout() -> Iterator[BinaryIO]:
    """The standard output, for frames alone: whatever else is said inside goes to the standard error.

    Raises:
        UserError: it is a terminal, or closed.
    """
    if sys.stdout is None:
        raise UserError("-o - writes to the standard output, which is closed: pipe it, as `| ffmpeg ...`")
    if os.isatty(1):
        raise UserError("-o - writes raw frames, and the output is a terminal: give a folder, or `| ffmpeg ...` behind")
    sys.stdout.flush()
    # A thread that waits for a reader would hold a buffer's lock, and nobody else could close it.
    with os.fdopen(os.dup(1), "wb", buffering=0) as out:
        os.dup2(2, 1)
        try:
            with redirect_stdout(sys.stderr):
                yield out
        finally:
            os.dup2(out.fileno(), 1)


def pipe_film(
    predictor: Predictor,
    film: Path | str,
    out: BinaryIO,
    outputs: Outputs,
    *,
    max_pixels: int | None,
    counts: Counts,
    live: LiveOptions | None = None,
) -> None:
    """Writes each frame of a film, or those taken of a live source: overlays as bgr24, else ids as gray or gray16le.

    It ends quietly where the pipe is closed.

    Args:
        predictor: whose class maps they are.
        film: a file; or the address of a camera or a stream, as `rtseg.addresses.live_source` gives it.
        out: where the frames go.
        outputs: what is drawn.
        max_pixels: of a frame, at most, as for `predict_files`.
        counts: is kept up to date.
        live: how a camera or a stream is taken.

    Raises:
        UserError: other outputs are asked for; the film cannot be read; a frame fails, or cannot be written.
    """
    if outputs.margin or outputs.submission or outputs.film == "frames":
        raise UserError("-o - writes overlays, or with --no-overlay class maps: leave the other outputs out")
    if outputs.fps is not None and not (isinstance(film, Path) and is_numbered(film)):
        raise UserError(NO_FPS)
    outputs.check(predictor)
    console, threads = Console(stderr=True), stage_threads()
    limit = pixel_limit(predictor, max_pixels)
    if isinstance(film, str):
        options = replace(live or LiveOptions(), max_pixels=limit)
        with open_live(film, predictor, options, console) as source, suppress(_PipeClosed):
            piped = _Piped(predictor, outputs, source.rate, out)
            live_through_network(
                source, predictor, piped, {}, steady=outputs.steady, threads=threads, counts=counts, console=console
            )
        return
    with closing(open_film(film, predictor, limit, console, outputs.fps)) as reader, suppress(_PipeClosed):
        piped = _Piped(predictor, outputs, reader.rate, out)
        through_network(
            film, predictor, reader, piped, steady=outputs.steady, threads=threads, counts=counts, console=console
        )


def one_film(sources: list[str]) -> Path:
    """The film that `-o -` is given. Raises: UserError where it is none, or not one."""
    others, films = split_films(sources, Path("-"))
    if others or len(films) != 1:
        given = f"'{others[0]}' is none" if others else f"these are {len(films)}"
        raise UserError(f"-o - takes one film, and {given}; give a folder for other results")
    return films[0]


class _Piped:
    """Frames of one size, one after another, see `rtseg.deploy.video.film_results.Written`."""

    def __init__(self, predictor: Predictor, outputs: Outputs, rate: float, out: BinaryIO) -> None:
        self._predictor, self._outputs, self._rate, self._out = predictor, outputs, rate, out
        self._image_files, self.frames = ImageFiles(predictor, outputs), 0

    def draw(self, image: np.ndarray, classes: np.ndarray) -> Drawn:
        return draw_frame(self._image_files, self._predictor, self._outputs, image, classes)

    def write(self, drawn: Drawn, at: float) -> None:
        """Raises: _PipeClosed; UserError where what stands for the pipe cannot be written."""
        frame = drawn.ids if drawn.overlay is None else drawn.overlay
        if not self.frames:
            self._say_format(frame)
        try:
            left = np.ascontiguousarray(frame).data.cast("B")
            while left:
                left = left[self._out.write(left) :]
        except BrokenPipeError:
            raise _PipeClosed from None
        except OSError as error:
            raise UserError(f"-o -: the frames cannot be written: {error.strerror}") from None
        self.frames += 1

    def _say_format(self, frame: np.ndarray) -> None:
        pixels = "bgr24" if frame.ndim == 3 else "gray" if frame.dtype == np.uint8 else f"gray16{sys.byteorder[0]}e"
        size, rate = f"{frame.shape[1]}x{frame.shape[0]}", Fraction(self._rate).limit_denominator(1001)
        say(f"raw frames: | ffmpeg -f rawvideo -pix_fmt {pixels} -video_size {size} -framerate {rate} -i - ...")

    def close(self) -> None:
        """Nothing is left to be done."""

    def summarise(self) -> None:
        """The speed says it."""
