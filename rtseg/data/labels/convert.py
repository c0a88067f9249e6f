"""A labelled set -> a folder that data set `folder` reads: images, masks of class numbers, dataset.yaml.

The folder appears when it is whole; until then it is called otherwise, and is removed if anything fails.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from rtseg.data.faults import Broken, Faults
from rtseg.data.labels.archive import inner_folder, unpack
from rtseg.data.labels.classes import Classes, Unlabelled, check_asked, result_classes
from rtseg.data.labels.find import find_format
from rtseg.data.labels.source import (
    SKIP,
    UNLABELLED,
    Asked,
    BrokenLabelsError,
    Labelled,
    Source,
)
from rtseg.data.labels.split import split
from rtseg.data.labels.writer import Writer
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.output.folders import beside, check_empty
from rtseg.output.lock import locked_target

Progress = Callable[[int, int], None]
SPLITS = ("train", "val", "test")
_THREADS = 8
_VAL = 0.2


@dataclass(frozen=True)
class Choices:
    """What the user decides.

    Attributes:
        format: of the source; None: what it looks like.
        images: folder of the images; None: where the source says.
        unlabelled: what pixels become that nobody labelled; None: it is an error if there are any.
        val: share of the images for validation; None: what the source says, else a fifth.
        broken: whether what cannot be used is left out, or stops the conversion.
        link: whether images are links to the source's files, not copies.
    """

    format: str | None = None
    images: Path | None = None
    unlabelled: Unlabelled | None = None
    val: float | None = None
    broken: Broken = "refuse"
    link: bool = False


@dataclass
class Summary:
    """What was written.

    Attributes:
        source: what it was made of.
        names: of the classes that were written.
        images: split -> number.
        divided: how the splits came about, a sentence; None: the source says them, or nothing is for validation.
        pixels: of each class; of what is ignored under IGNORE.
        unlabelled: how many of them nobody had labelled.
        counts: see `Drawn`.
        faults: what was left out.
    """

    source: Source
    names: tuple[str, ...]
    images: Counter[str] = field(default_factory=Counter)
    divided: str | None = None
    pixels: Counter[int] = field(default_factory=Counter)
    unlabelled: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)


def convert(path: Path, output: Path, choices: Choices, progress: Progress = lambda done, total: None) -> Summary:
    """Converts a source.

    Args:
        path: a file, a folder or a .zip.
        output: new or empty.
        progress: is told how many images of how many are done.

    Raises:
        UserError: it is of no known format; something in it cannot be used (each kind is counted and named); pixels are
            unlabelled and nobody said what they are; the output is not empty, is in use, or cannot be written.
    """
    with locked_target(output), _aside(output) as aside, refusals_told(output):
        root = path
        if path.suffix.lower() == ".zip" and path.is_file():
            if choices.link:
                raise UserError("--link: images in an archive cannot be linked: leave --link out, or unpack it first")
            root = unpack(path, aside / "source")
        elif path.is_dir():
            root = inner_folder(path)
        source = _read(path, root, aside / "source", choices)
        named = _unique(source)
        if source.faults.found and choices.broken == "refuse":
            raise _refusal(path, source.faults)
        classes = result_classes(source, choices.unlabelled)
        summary = Summary(source, classes.names, faults=source.faults)
        named, summary.divided = _divided(named, choices.val)
        if choices.unlabelled is None:
            check_asked(source, named)
        result = aside / "result"
        _write(Writer(result, classes, choices.link, source.nobody), named, summary, progress)
        if summary.faults.found and (choices.broken == "refuse" or not summary.images):
            raise _refusal(path, summary.faults)
        _write_yaml(result / "dataset.yaml", path, source, classes, summary)
        result.replace(os.path.realpath(output))
    return summary


def _read(path: Path, root: Path, unpacked: Path, choices: Choices) -> Source:
    """Reads what lies in `root`. Raises: UserError, which calls an archive that was `unpacked` by its own `path`."""
    try:
        return find_format(root, choices.format).read(root, Asked(choices.images, choices.broken))
    except UserError as error:
        raise UserError(str(error).replace(str(unpacked), str(path))) from None


@contextmanager
def _aside(output: Path) -> Iterator[Path]:
    """A new folder beside the output, which is removed at the end.

    Raises:
        UserError: the output holds something, or the disk refuses.
    """
    check_empty(output, "give another folder, or remove it")
    aside = beside(Path(os.path.realpath(output)), "-unfinished")
    shutil.rmtree(aside, ignore_errors=True)  # of a command that was killed
    with refusals_told(output):
        aside.mkdir()
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _refusal(path: Path, faults: Faults) -> UserError:
    return UserError(f"'{path}' has what cannot be used:{faults}\nCorrect it, or give {SKIP} to leave it out")


def _unique(source: Source) -> list[Labelled]:
    """The images under names that are theirs alone in their split: with the ending where two have the same otherwise.

    Hidden names would not be found again: their dot becomes a line.
    """
    seen: set[Path] = set()
    images = []
    for one in source.images:
        if isinstance(one.image, Path):
            if one.image in seen:
                source.faults.add("images listed more than once", one.name)
                continue
            seen.add(one.image)
        visible = "/".join("_" + part[1:] if part.startswith(".") else part for part in one.name.split("/"))
        images.append(one._replace(name=visible))
    shared = Counter(map(_key, images))
    images = [
        one._replace(name=f"{one.name}{one.image.suffix.lower()}") if shared[_key(one)] > 1 else one for one in images
    ]
    if double := [key for key, number in Counter(map(_key, images)).items() if number > 1]:
        raise UserError(f"two images of the source are called '{double[0][1]}': give each a name of its own")
    return images


def _key(image: Labelled) -> tuple[str | None, str]:
    """What must not be that of another image; some systems ignore case."""
    return image.split, image.name.lower()


def _divided(images: list[Labelled], val: float | None) -> tuple[list[Labelled], str | None]:
    """The images, each with a split, and how these came about.

    Raises:
        UserError: the source has validation images, and another share is asked for.
    """
    if any(one.split == "val" for one in images):
        if val is not None:
            raise UserError("--val: the source says itself which images are for validation; leave --val out")
        return [one if one.split else one._replace(split="train") for one in images], None
    share = _VAL if val is None else val
    if not 0 <= share < 1:
        raise UserError(f"--val {val}: the share of the images for validation is from 0 to below 1, such as 0.2")
    free = [one.name for one in images if one.split != "test"]
    chosen = iter(split(free, share))
    why = "--val 0.2, since the source does not say which" if val is None else f"--val {val:g}"
    told = f"Validation images were chosen by a hash of their names ({why}); images added later do not change it."
    divided = [one if one.split == "test" else one._replace(split=next(chosen)) for one in images]
    return divided, told if share else None


def _write(writer: Writer, images: Sequence[Labelled], summary: Summary, progress: Progress) -> None:
    """Writes all images, and counts in the summary what was written."""

    def one(image: Labelled) -> tuple[np.ndarray, Counter[str]] | BrokenLabelsError:
        try:
            return writer.write(image)
        except BrokenLabelsError as error:
            return error

    pool = ThreadPoolExecutor(_THREADS)
    try:
        for done, (image, result) in enumerate(zip(images, pool.map(one, images), strict=True), 1):
            progress(done, len(images))
            if isinstance(result, BrokenLabelsError):
                summary.faults.add(result.kind, result.name)
                continue
            pixels, counts = result
            summary.images[str(image.split)] += 1
            summary.counts += counts
            summary.unlabelled += int(pixels[UNLABELLED])
            for number in np.flatnonzero(pixels).tolist():
                summary.pixels[int(writer.classes.table[number])] += int(pixels[number])
    finally:
        pool.shutdown(cancel_futures=True)


def _write_yaml(file: Path, path: Path, source: Source, classes: Classes, summary: Summary) -> None:
    content = {
        "classes": list(classes.names),
        **{name: {"images": f"images/{name}", "masks": f"masks/{name}"} for name in SPLITS if summary.images[name]},
        "palette": ["#{:02x}{:02x}{:02x}".format(*color) for color in classes.palette],
    }
    head = f"# Written by rtseg convert-labels from {source.format}, {path.name!r}. 255 in masks is ignored.\n"
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False, default_flow_style=None, width=100)
    file.write_text(head + text, encoding="utf-8")
