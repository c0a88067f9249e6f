"""The images that `rtseg predict` is given as files, folders and globs."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

from rtseg.data.files import IMAGE_SUFFIXES, find_images
from rtseg.data.kinds import is_film
from rtseg.data.walk import find_files
from rtseg.deploy.folder.result_names import LEGEND, margin_file, result_files
from rtseg.errors import UserError
from rtseg.numbered import is_numbered
from rtseg.paths import FILM_SUFFIXES
from rtseg.terminal import Console, counted


def find_sources(
    sources: Sequence[str | Path],
    out_dir: Path,
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    *,
    beside_films: bool = False,
) -> tuple[list[tuple[Path, Path]], dict[Path, str]]:
    """(root, image) of every image, and the sources that have none, with the reason.

    Raises:
        UserError: no source has any; `beside_films` there need be none.
    """
    if not sources and not beside_films:
        raise UserError("there is nothing to predict: give images, folders or globs")
    found: list[tuple[Path, Path]] = []
    failed: dict[Path, str] = {}
    for source in map(str, sources):
        try:
            found += _expand(source, out_dir, suffixes)
        except UserError as error:
            failed[Path(source)] = str(error)
    if not found and not beside_films:
        raise UserError(next(iter(failed.values())))
    return found, failed


def _expand(source: str, out_dir: Path, suffixes: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """(root, image) of one source; the names of results are relative to the root."""
    try:
        root, found = find_images(source, suffixes)
    except UserError:
        folder = Path(os.path.expanduser(source))
        if not folder.is_dir() or not (films := find_files(folder, FILM_SUFFIXES, "**/*")):
            raise
        raise UserError(
            f"no images in '{source}', but {counted(len(films), 'film')}. A folder stands for its images; give films "
            f"by name or with a glob, as '{films[0].parent / ('*' + films[0].suffix)}'"
        ) from None
    # Results of an earlier run in a folder inside the source are not predicted.
    if Path(source).is_file() or not out_dir.absolute().is_relative_to(root.absolute()):
        return [(root, image) for image in found]
    if out_dir.absolute() != root.absolute():
        found = [image for image in found if not image.absolute().is_relative_to(out_dir.absolute())]
    if not found:
        raise UserError(f"no images in '{source}' but the results of an earlier run in '{out_dir}'")
    return [(root, image) for image in found]


def split_films(
    sources: Sequence[str | Path], out_dir: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES
) -> tuple[list[str], list[Path]]:
    """The sources with images, and the films among them all: files by their content, and what globs find.

    Images that are numbered (`rtseg.numbered`) are a film.
    """
    others: list[str] = []
    films: dict[Path, None] = {}
    for source in map(str, sources):
        path = Path(os.path.expanduser(source))
        if os.path.isfile(path):
            found, left = [path] * (path.suffix.lower() in FILM_SUFFIXES or is_film(path)), False
        elif is_numbered(path):
            found, left = [path], False
        elif glob.has_magic(source) and not os.path.exists(path):
            root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
            pattern = path.relative_to(root).as_posix()
            found = find_files(root, FILM_SUFFIXES, pattern)
            if out_dir.absolute() != root.absolute():  # as `_expand` does
                found = [film for film in found if not film.absolute().is_relative_to(out_dir.absolute())]
            left = bool(find_files(root, suffixes, pattern))
        else:
            found, left = [], True
        films.update(dict.fromkeys(found))
        if left or not found:
            others.append(source)
    return others, list(films)


def check_sources(names: dict[Path, str], out_dir: Path) -> None:
    """Raises: UserError where a result would replace an image that is to be read."""
    for path, name in names.items():
        for result in (out_dir / file for file in (*result_files(name), margin_file(name), LEGEND)):
            if Path(os.path.abspath(result)) in names:
                raise UserError(f"the results of '{path}' would overwrite the image '{result}': give another folder")


def say_animations(images: Iterable[Path], console: Console) -> None:
    """Says which GIF files have more images than the first, which alone is read."""
    animations = [path for path in images if path.suffix.lower() == ".gif" and _is_animated(path)]
    if animations:
        many = f" and {len(animations) - 1} more" if len(animations) > 1 else ""
        console.print(
            f"'{animations[0]}'{many}: of an animation the first image alone is segmented; as a film it has all: "
            "`ffmpeg -i FILE new.mp4`",
            soft_wrap=True,
        )


def _is_animated(path: Path) -> bool:
    """False for what cannot be read: who reads it says so."""
    try:
        with Image.open(path) as file:
            return bool(getattr(file, "is_animated", False))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def say_failed(failed: dict[Path, str], total: str, console: Console) -> None:
    """Names what was not predicted. `total` is as "3 images"."""
    for path, reason in failed.items():
        named = reason if path.name in reason else f"{path}: {reason}"
        console.print(f"not predicted: {named}", style="red", soft_wrap=True)
    if failed:
        many = f"{len(failed)} of {total} were" if len(failed) > 1 else f"1 of {total} was"
        console.print(f"{many} not predicted", style="red")
