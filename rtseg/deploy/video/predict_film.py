"""What `rtseg predict` does with a film: each frame once and in order, into an overlay and a film of class maps.

Frames go through the pipeline of images: one thread decodes, the network's threads take turns, several draw, and the
finished frames are handed in their order to the programs that encode them.
"""

import math
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg.deploy.device import torch_threads
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.lanes import lanes, resized_note
from rtseg.deploy.folder.pipeline import Pipeline
from rtseg.deploy.folder.result_names import FILMS, result_names
from rtseg.deploy.folder.results import Results, file_facts
from rtseg.deploy.folder.stages import Speed
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.ffmpeg import ffmpeg_program
from rtseg.deploy.video.film_results import Drawn, FilmResults, Written, result_paths
from rtseg.deploy.video.image_sequence import ImageSequence
from rtseg.deploy.video.reader import FilmReader, Frames, Turn
from rtseg.deploy.video.sizes import changing_size
from rtseg.deploy.video.steady import Steady
from rtseg.errors import UserError
from rtseg.numbered import is_numbered, name_of_numbered
from rtseg.terminal import Console, counted, say

MANY = 32  # frames, for which it pays to measure the engines
_UNKNOWN = 10_000  # frames of a film that states none, as far as the choice of lanes goes
NO_FPS = "--fps is of numbered images, as 'frames/%06d.png', and there are none: leave it out"
NO_FFMPEG = (
    "there is no ffmpeg: overlays are written as mp4v, which browsers will not show, and class maps as PNG files. "
    "pip install 'rtseg[video]' brings one, RTSEG_FFMPEG names another"
)


def name_films(films: Sequence[Path], out_dir: Path, outputs: Outputs, *, resume: bool) -> dict[Path, str]:
    """Absolute path of each film -> name of its results, see `result_names`.

    Raises:
        UserError: these outputs are of images alone, a film is to be resumed, or a result would replace a film.
    """
    if outputs.fps is not None and not any(map(is_numbered, films)):
        raise UserError(NO_FPS)
    if not films:
        if outputs.film != FILMS[0]:
            raise UserError(f"--film {outputs.film}: there is no film among what is given; leave --film out")
        return {}
    if resume:
        raise UserError(
            f"--resume adds images that are missing; '{films[0]}' is a film, which starts anew: leave it "
            "out, or give --overwrite instead"
        )
    if outputs.margin or outputs.submission:
        raise UserError(f"--margin and --submission are of images; leave them out, or the film '{films[0]}'")
    called = {Path(os.path.abspath(_called(film))): Path(os.path.abspath(film)) for film in films}
    if len(called) < len(films):
        raise UserError("two of these films would have results of one name: give one of them to each command")
    named, _ = result_names([(path.parent, path) for path in called], out_dir)
    names = {called[path]: name for path, name in named.items()}
    real = set(map(os.path.realpath, names))  # a folder may have a second name
    for path, name in names.items():
        for result in result_paths(out_dir, name):
            if os.path.realpath(result) in real:
                raise UserError(f"the results of '{path}' would overwrite the film '{result}': give another folder")
    return names


def _called(film: Path) -> Path:
    return name_of_numbered(film) if is_numbered(film) else film


def predict_film(
    path: Path, name: str, results: Results, *, max_pixels: int, threads: int, counts: Counts, console: Console
) -> None:
    """Writes the results of a film, and says what was written.

    Args:
        path: the film.
        name: of its results.
        results: the folder.
        max_pixels: of a frame at most.
        threads: that draw.
        counts: is kept up to date.
        console: for the progress.

    Raises:
        UserError: the film cannot be read, see `FilmReader`; the network takes no films; a frame fails, or cannot be
            written. What was written before plays.
    """
    if (program := ffmpeg_program()) is None and results.outputs.film != "frames":
        console.print(NO_FFMPEG, soft_wrap=True)
    numbered = is_numbered(path)
    with closing(open_film(path, results.predictor, max_pixels, console, results.outputs.fps)) as reader:
        facts = {"image": path.name} if numbered else file_facts(path)
        line = {"name": (PurePosixPath(name).parent / path.name).as_posix(), **facts}
        if results.outputs.steady:
            line["steady"] = True
        film = FilmResults(results, name, line, reader.rate, program, None if numbered else path)
        try:
            through_network(
                path,
                results.predictor,
                reader,
                film,
                steady=results.outputs.steady,
                threads=threads,
                counts=counts,
                console=console,
            )
        except BaseException:
            if film.frames:
                with suppress(UserError):  # a full disk, which is said already
                    results.write_legend()
            raise
    if program and not numbered and (note := changing_size(program, path)):
        say(note)
    results.write_legend()


def open_film(path: Path, predictor: Predictor, max_pixels: int, console: Console, fps: float | None) -> Frames:
    """A film that this network takes, or numbered images, `fps` a second; says where its frames are resized.

    Raises:
        UserError: it cannot be read, see `FilmReader`, or the network takes no films.
    """
    if predictor.card.channels is not None:
        raise UserError(f"{path}: a film has red, green and blue, and this network takes other channels")
    numbered = is_numbered(path)
    reader = ImageSequence(path, predictor.card, max_pixels, fps) if numbered else FilmReader(path, max_pixels)
    if predictor.fixed_size and predictor.fixed_size != reader.size:
        console.print(resized_note(*predictor.fixed_size), soft_wrap=True)
    return reader


def through_network(
    path: Path,
    predictor: Predictor,
    reader: Frames,
    film: Written,
    *,
    steady: bool,
    threads: int,
    counts: Counts,
    console: Console,
) -> None:
    """Every frame of a film through a network, and to where its frames go; then says what was written, and how fast.

    Raises:
        UserError: a frame fails, or cannot be written.
    """
    counts.film, counts.frames = path, 0
    run = _Run(path, predictor, reader, film, steady)
    run.write_all(threads, counts, console)
    run.summarise()


class _Run:
    """A film through a network, into its results."""

    def __init__(self, path: Path, predictor: Predictor, reader: Frames, film: Written, steady: bool) -> None:
        self._path, self._predictor, self._reader, self._film, self._steady = path, predictor, reader, film, steady

    def write_all(self, threads: int, counts: Counts, console: Console) -> None:
        """Writes every frame. However it ends, what is written plays, and stands in the record.

        Raises:
            UserError: a frame fails, or cannot be written.
        """
        predictor, stated = self._predictor, self._reader.stated
        if (stated or _UNKNOWN) >= MANY:
            predictor.runner.may_measure = True
        use = Predictor.prediction_of if self._steady else Predictor.classes_of
        self._pipeline = pipeline = Pipeline[Turn](
            read=self._read,
            predict=[partial(lane.predict, use) for lane in lanes(predictor, stated or _UNKNOWN)],
            write=self._draw,
            finish=self._finish,
            steady=Steady().next if self._steady else None,
            threads=threads,
            readers=1,
        )
        self._speed, self._counts, counts.settle = Speed(pipeline.times), counts, pipeline.settle
        speed = TextColumn("{task.fields[speed]}")
        name = TextColumn("{task.description}", markup=False)  # a file may be called {a}[/b]
        columns = (name, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), speed)
        try:
            with Progress(*columns, console=console) as self._progress:
                self._task = self._progress.add_task(self._path.name, total=stated or None, speed="")
                self._start = time.monotonic()
                with torch_threads(torch.get_num_threads()):
                    pipeline.run(self._reader.turns())
        except BaseException:
            with suppress(UserError):  # a scheduler that stops rtseg may stop ffmpeg, too, which then is no news
                self._film.close()
            raise
        self._film.close()
        if not self._film.frames:
            raise UserError(
                f"{self._path}: no frame of it can be decoded: it is cut off, or this OpenCV does not have its codec "
                f"({self._reader.codec}); play it, and convert it with `ffmpeg -i FILM new.mp4`"
            )

    def _read(self, turn: Turn, admit: Callable[[int], None]) -> np.ndarray:
        admit(math.prod(self._reader.size))
        return self._reader.frame()

    def _draw(self, turn: Turn, image: np.ndarray, classes: np.ndarray) -> Drawn:
        return self._film.draw(image, classes)

    def _finish(self, turn: Turn, drawn: Drawn | None, error: Exception | None) -> None:
        """Hands a frame to the encoders, in the order of the frames."""
        if error is not None or drawn is None:
            raise UserError(f"{self._path}: frame {turn.number + 1}: {error}") from error
        begin = time.perf_counter()
        self._film.write(drawn, turn.at)
        self._pipeline.times.add({"encoding": time.perf_counter() - begin})
        self._counts.frames = self._film.frames
        self._speed.add(time.monotonic() - self._start, self._pipeline.begun, written=True)
        self._progress.update(self._task, completed=self._film.frames, speed=self._speed.text())

    def summarise(self) -> None:
        """Says what there is to say of the film, what was written, and how fast."""
        for note in self._reader.notes():
            say(note)
        self._film.summarise()
        say(f"{counted(self._film.frames, 'frame')} in {self._speed.sentence()}; {self._predictor.runner.taken()}")
