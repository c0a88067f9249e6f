"""Files, folders and globs of images -> a folder of class maps and overlays: `rtseg predict`."""

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rtseg.checks import check_between
from rtseg.data.files import find_images, read_image
from rtseg.data.kinds import FilmError
from rtseg.deploy.legend import shares_sentence
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.result_names import LEGEND, result_files, result_names
from rtseg.deploy.results import Results
from rtseg.disk import refused
from rtseg.errors import UserError
from rtseg.output.lock import locked_folder
from rtseg.terminal import Console, say

_ALIKE = 20  # if the first so many images fail for one reason, it is the network's


@dataclass
class Counts:
    """How far a command is, for a signal that stops it.

    Attributes:
        done: images whose results are written, now or by an earlier command.
        total: images in all.
    """

    done: int = 0
    total: int = 0

    def sentence(self) -> str:
        """How far it is, for the person who stopped it."""
        return f"{self.done} of {self.total} images are written." if self.total else "Nothing is written yet."


def predict_files(
    predictor: Predictor,
    sources: Sequence[str | Path],
    out_dir: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    alpha: float = 0.5,
    max_pixels: int = 2**26,
    checkpoint: str = "best.ckpt",
    counts: Counts | None = None,
) -> dict[Path, str]:
    """Writes for each image its class map, its colours and an overlay, see `rtseg.deploy.results`; and a legend.

    Names keep the folders below a source. A name that the system does not take is shortened by a digest. What goes
    wrong with one image or one source is reported at the end and stops nothing.

    Args:
        sources: images, folders (searched to the bottom) and globs.
        out_dir: made if missing.
        overwrite: write into a folder that is not empty.
        resume: keep the results that are there, if they are of the same network.
        alpha: share of the colour in the overlay, 0..1.
        max_pixels: larger images fail, before they are decoded. RTFormer-Slim takes 55 bytes a pixel: at the default,
            67 million, 3.7 GB.
        checkpoint: what to call the network in the advice about a film.
        counts: is kept up to date.

    Returns:
        The images and sources that failed, with the reason; empty when all went well.

    Raises:
        UserError: no source has an image; `out_dir` cannot be written to, or is in use by another command, or is not
            empty; results would replace a source; results that are to be kept are of another network; `alpha` or
            `max_pixels` is out of range; the first 20 images fail for one reason, which is then not theirs; the disk
            is full.
    """
    out_dir = Path(out_dir).expanduser()
    check_between("alpha", alpha, 0, 1, "0 is the image alone, 1 the colours alone")
    check_between("--max-pixels", max_pixels, 1, 2**30, "it is width x height; OpenCV decodes no more")
    if resume and overwrite:
        raise UserError("--resume keeps the results that are there, --overwrite replaces them; give one of the two")
    with locked_folder(out_dir):
        results = Results(out_dir, predictor, alpha, resume=resume, overwrite=overwrite)
        found, failed = _found(sources, out_dir)
        names, shortened = result_names(found, out_dir)
        _check_sources(names, out_dir)
        console = Console(stderr=True)
        if predictor.fixed_size:
            console.print(_resized(*predictor.fixed_size), soft_wrap=True)
        start = time.monotonic()
        kept, others = _write_all(results, names, max_pixels, checkpoint, counts or Counts(), console)
        failed |= others
        if shortened:
            many = f" and {len(shortened) - 1} more" if len(shortened) > 1 else ""
            console.print(
                f"names that are too long for results are cut and end in a digest: '{shortened[0]}'{many}",
                soft_wrap=True,
            )
    total = len(names) + sum(path not in names for path in failed)
    for path, reason in failed.items():
        named = reason if path.name in reason else f"{path}: {reason}"
        console.print(f"not predicted: {named}", style="red", soft_wrap=True)
    if failed:
        console.print(f"{len(failed)} of {total} images were not predicted", style="red")
    _summarise(results, total - len(failed) - kept, kept, time.monotonic() - start)
    return failed


def _write_all(
    results: Results, names: dict[Path, str], max_pixels: int, checkpoint: str, counts: Counts, console: Console
) -> tuple[int, dict[Path, str]]:
    """Predicts and writes every image that is not there yet.

    Returns:
        How many were there already, and the images that failed with the reason.
    """
    todo = {path: name for path, name in names.items() if not results.has(path, name)}
    kept = len(names) - len(todo)
    counts.done, counts.total = kept, len(names)
    failed: dict[Path, str] = {}
    columns = (TextColumn("predict"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("predict", total=len(names), completed=kept)
        for number, (path, name) in enumerate(todo.items(), 1):
            try:
                image = read_image(path, max_pixels)
                results.write(path, name, image, results.predictor(image))
                counts.done += 1
            except Exception as error:  # whatever one image does to reader, network or writer
                if _disk_is_full(error):
                    raise
                failed[path] = _reason(error, checkpoint)
                if number == len(failed) == _ALIKE and len(set(failed.values())) == 1:
                    raise UserError(f"the first {_ALIKE} images fail for one reason: {failed[path]}") from error
            progress.advance(task)
    if counts.done:
        results.write_legend()
    return kept, failed


def _summarise(results: Results, written: int, kept: int, seconds: float) -> None:
    if not written + kept:
        return
    class_maps, colours, overlays = result_files("NAME")
    there = f", {kept} were there already" if kept else ""
    say(f"{written} image{'s' * (written != 1)} in {seconds:.1f} s{there}. In '{results.folder}':")
    say(f"  {overlays}: the image with its classes; {colours}: the colours alone; legend.png: what they mean")
    say(f"  {class_maps}: the class map for programs, grey, each pixel the id of its class")
    say(f"Classes: {shares_sentence(results.predictor.class_names, results.counts())}")


def _reason(error: Exception, checkpoint: str) -> str:
    if isinstance(error, FilmError):
        return str(FilmError(error.path, checkpoint))
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def _resized(height: int, width: int) -> str:
    return (
        f"images are resized to {height}x{width} (height x width), the size of this export; class maps have the size "
        "of their image. Resizing changes the result: the checkpoint takes images of any size, or export it again with "
        "--input-size and the size of your images (docs/deploy.md)"
    )


def _disk_is_full(error: Exception) -> bool:
    """Whether no other image could be written either: full or read-only. A broken place may concern one image alone."""
    reason = refused(error)
    return reason is not None and reason.errno != errno.EIO


def _found(sources: Sequence[str | Path], out_dir: Path) -> tuple[list[tuple[Path, Path]], dict[Path, str]]:
    """(root, image) of every image, and the sources that have none, with the reason.

    Raises:
        UserError: no source has any.
    """
    if not sources:
        raise UserError("there is nothing to predict: give images, folders or globs")
    found: list[tuple[Path, Path]] = []
    failed: dict[Path, str] = {}
    for source in map(str, sources):
        try:
            found += _expand(source, out_dir)
        except UserError as error:
            failed[Path(source)] = str(error)
    if not found:
        raise UserError(next(iter(failed.values())))
    return found, failed


def _expand(source: str, out_dir: Path) -> list[tuple[Path, Path]]:
    """(root, image) of one source; the names of results are relative to the root."""
    root, found = find_images(source)
    # Results of an earlier run in a folder inside the source are not predicted.
    if Path(source).is_file() or not out_dir.absolute().is_relative_to(root.absolute()):
        return [(root, image) for image in found]
    if out_dir.absolute() != root.absolute():
        found = [image for image in found if not image.absolute().is_relative_to(out_dir.absolute())]
    if not found:
        raise UserError(f"no images in '{source}' but the results of an earlier run in '{out_dir}'")
    return [(root, image) for image in found]


def _check_sources(names: dict[Path, str], out_dir: Path) -> None:
    """Raises: UserError where a result would replace an image that is to be read."""
    for path, name in names.items():
        for result in (out_dir / file for file in (*result_files(name), LEGEND)):
            if Path(os.path.abspath(result)) in names:
                raise UserError(f"the results of '{path}' would overwrite the image '{result}': give another folder")
