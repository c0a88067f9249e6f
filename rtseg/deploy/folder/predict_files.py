"""Files, folders and globs of images -> a folder of class maps and overlays: `rtseg predict`."""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg.addresses import live_source, shown
from rtseg.checks import check_between
from rtseg.data.files import MAX_PIXELS
from rtseg.data.image_space import image_suffixes
from rtseg.deploy.device import available_cores, torch_threads
from rtseg.deploy.folder.counts import Counts
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.lanes import Lane, lanes, resized_note
from rtseg.deploy.folder.legend import shares_sentence
from rtseg.deploy.folder.pipeline import Pipeline
from rtseg.deploy.folder.result_names import margin_file, result_files, result_names
from rtseg.deploy.folder.results import Results
from rtseg.deploy.folder.sources import check_sources, find_sources, say_animations, say_failed, split_films
from rtseg.deploy.folder.stages import Speed, StageTimes
from rtseg.deploy.pixels import read_pixels
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.video.live_options import LiveOptions
from rtseg.deploy.video.predict_film import name_films, predict_film
from rtseg.deploy.video.predict_live import predict_live
from rtseg.disk import disk_is_full
from rtseg.errors import UserError
from rtseg.output.lock import locked_folder
from rtseg.terminal import Console, counted, say

_MOST_WHOLE = 2**26  # pixels of an image that the network sees as a whole
_MANY = 32  # images, for which it pays to measure the engines
_ALIKE = 20  # if the first so many images fail for one reason, it is the network's
_MOST_THREADS = 4  # for reading, and as many for writing: a GPU's network is faster than one of each


def predict_files(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    outputs: Outputs | None = None,
    max_pixels: int | None = None,
    counts: Counts | None = None,
    live: LiveOptions | None = None,
) -> dict[Path, str]:
    """Writes for each image its class map, its colours and an overlay, see `rtseg.deploy.folder.results`; and a legend.

    Films come after the images, see `rtseg.deploy.video.predict_film`; a camera or a stream comes alone, see
    `rtseg.deploy.video.predict_live`.
    Images are read, predicted and written in threads, see `rtseg.deploy.folder.pipeline` and `lanes`.
    Names keep the folders below a source. A name that the system does not take is shortened by a digest. What goes
    wrong with one image or one source is reported at the end and stops nothing.

    Args:
        sources: images, films, folders (searched to the bottom for images) and globs; or one camera or stream.
        out_dir: made if missing.
        overwrite: write into a folder that is not empty.
        resume: keep the results that are there, if they are of the same network.
        outputs: what is written for each image; None for everything.
        max_pixels: larger images fail, before they are decoded. None takes 67 million, for which RTFormer-Slim takes
            3.7 GB, 55 bytes a pixel; and 179 million where the predictor has `tiles`, for which it needs no more.
        counts: is kept up to date.
        live: how a camera or a stream is taken.

    Returns:
        The images, films and sources that failed, with the reason; empty when all went well.

    Raises:
        UserError: no source has an image or is a film; `out_dir` cannot be written to, or is in use by another command,
            or is not empty; the outputs cannot be had of these sources, or of the network; results would replace a
            source; results that are to be kept are of another network, or a film is among them; `max_pixels` is out of
            range; the first 20 images fail for one reason, which is then not theirs; the disk is full.
    """
    out_dir = Path(out_dir).expanduser()
    max_pixels = pixel_limit(predictor, max_pixels)
    if resume and overwrite:
        raise UserError("--resume keeps the results that are there, --overwrite replaces them; give one of the two")
    outputs = outputs or Outputs()
    outputs.check(predictor)
    counts = counts or Counts()
    address = live_source(list(map(str, sources)))
    if address is not None and (resume or outputs.margin or outputs.submission or outputs.fps):
        raise UserError(
            f"--resume, --margin, --submission and --fps are of images; leave them out, or '{shown(address)}'"
        )
    with locked_folder(out_dir):
        results = Results(out_dir, predictor, outputs, resume=resume, overwrite=overwrite)
        if address is not None:
            options = replace(live or LiveOptions(), max_pixels=max_pixels)
            predict_live(address, results, options, threads=stage_threads(), counts=counts)
            return {}
        return _write_all(results, sources, resume=resume, max_pixels=max_pixels, counts=counts)


def _write_all(
    results: Results, sources: Sequence[str | Path], *, resume: bool, max_pixels: int, counts: Counts
) -> dict[Path, str]:
    """The images, then the films. -> those that failed, with the reason."""
    out_dir, outputs, console = results.folder, results.outputs, Console(stderr=True)
    suffixes = image_suffixes(results.predictor.card.channels)
    images, films = split_films(sources, out_dir, suffixes)
    outputs.check_images(images)
    films_named = name_films(films, out_dir, outputs, resume=resume)
    found, failed = find_sources(images, out_dir, suffixes, beside_films=bool(films))
    names, shortened = result_names(found, out_dir) if found else ({}, [])
    check_sources(names, out_dir)
    outputs.check_names(names.values(), out_dir)
    if len(names) >= _MANY:
        results.predictor.runner.may_measure = True
    run = _Run(results, counts, console)
    say_animations(names, console)
    if names:
        run.write_all(names, max_pixels)
        failed |= run.failed
    if shortened:
        many = f" and {len(shortened) - 1} more" if len(shortened) > 1 else ""
        console.print(
            f"names that are too long for results are cut and end in a digest: '{shortened[0]}'{many}",
            soft_wrap=True,
        )
    _summarise(results, run)
    for path, name in films_named.items():
        try:
            predict_film(
                path, name, results, max_pixels=max_pixels, threads=stage_threads(), counts=counts, console=console
            )
        except UserError as error:
            failed[path] = str(error)
    total = len({*names, *films_named, *failed})
    say_failed(failed, f"{total} images{' and films' if films_named else ''}", console)
    return failed


def pixel_limit(predictor: Predictor, asked: int | None) -> int:
    """Pixels of an image at most, see `predict_files`. Raises: UserError where the number is out of range."""
    limit = (MAX_PIXELS if predictor.tiles else _MOST_WHOLE) if asked is None else asked
    check_between("--max-pixels", limit, 1, 2**30, "it is width x height; OpenCV decodes no more")
    return limit


class _Run:
    """Predicts and writes every image that is not there yet.

    Attributes:
        kept: how many images were there already.
        failed: those that were not written, with the reason.
        speed: how many were written now, and how fast.
    """

    def __init__(self, results: Results, counts: Counts, console: Console) -> None:
        self._results, self._counts, self._console = results, counts, console
        self.kept, self._told = 0, False
        self.failed: dict[Path, str] = {}
        self.speed = Speed(StageTimes({}))

    def write_all(self, names: dict[Path, str], max_pixels: int) -> None:
        todo = [(path, name) for path, name in names.items() if not self._results.has(path, name)]
        self.kept = len(names) - len(todo)
        self._counts.done, self._counts.total = self.kept, len(names)
        self._pipeline = pipeline = Pipeline[tuple[Path, str]](
            read=lambda item, admit: read_pixels(item[0], self._results.predictor.card, max_pixels, admit),
            predict=[partial(self._predict, lane) for lane in lanes(self._results.predictor, len(todo))],
            write=self._write,
            finish=self._finish,
            threads=stage_threads(),
        )
        self._counts.settle, self.speed = pipeline.settle, Speed(pipeline.times)
        speed = TextColumn("{task.fields[speed]}")
        columns = (TextColumn("predict"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), speed)
        with Progress(*columns, console=self._console) as self._progress:
            self._task = self._progress.add_task("predict", total=len(names), completed=self.kept, speed="")
            self._start = time.monotonic()
            # A thread that begins later would have as many of PyTorch's threads as the lane that ended last.
            with torch_threads(torch.get_num_threads()):
                pipeline.run(todo)
        if self._counts.done:
            self._results.write_legend()

    def _predict(self, lane: Lane, image: np.ndarray) -> Prediction | np.ndarray:
        size = self._results.predictor.fixed_size
        if size and size != image.shape[:2] and not self._told:
            self._told = True
            self._console.print(resized_note(*size), soft_wrap=True)
        return lane.predict(self._results.predict, image)

    def _write(self, item: tuple[Path, str], image: np.ndarray, found: Prediction | np.ndarray) -> dict[str, Any]:
        return self._results.write(*item, image, found)

    def _finish(self, item: tuple[Path, str], line: dict[str, Any] | None, error: Exception | None) -> None:
        """Counts an image, in the order of the images.

        Raises:
            Exception: of this image, where no other could be written either.
            UserError: the first images all failed for one reason.
        """
        written = False
        try:
            if error is not None:
                raise error
            if line is not None:
                self._results.record(line)
                self._counts.done += 1
                written = True
        except Exception as error:  # whatever one image does to reader, network or writer
            if disk_is_full(error):
                raise
            self.failed[item[0]] = _reason(error)
            if not self.speed.written and len(self.failed) == _ALIKE and len(set(self.failed.values())) == 1:
                raise UserError(f"the first {_ALIKE} images fail for one reason: {self.failed[item[0]]}") from error
        self.speed.add(time.monotonic() - self._start, self._pipeline.begun, written=written)
        self._progress.update(self._task, advance=1, speed=self.speed.text())


def stage_threads() -> int:
    """Threads that read, and as many that write: one for every two cores, at most 4."""
    return min(max(1, available_cores() // 2), _MOST_THREADS)


def _summarise(results: Results, run: _Run) -> None:
    if not run.speed.written + run.kept:
        return
    class_maps, colours, overlays = result_files("NAME")
    there = f", {run.kept} {'was' if run.kept == 1 else 'were'} there already" if run.kept else ""
    say(f"{counted(run.speed.written, 'image')}{there}. In '{results.folder}':")
    if results.outputs.overlays:
        say(f"  {overlays}: the image with its classes; {colours}: the colours alone; legend.png: what they mean")
    say(f"  {class_maps}: the class map for programs, grey, each pixel the id of its class")
    if results.outputs.margin:
        say(f"  {margin_file('NAME')}: each pixel's best minus second best logit, in thousandths, up to 65535")
    say(f"Classes: {shares_sentence(results.predictor.class_names, results.counts())}")
    if run.speed.written:
        say(f"{counted(run.speed.written, 'image')} in {run.speed.sentence()}; {results.predictor.runner.taken()}")


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
