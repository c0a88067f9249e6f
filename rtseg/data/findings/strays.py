"""Files that lie beside those of the data set: junk, links that lead nowhere, and images that are not read."""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rtseg.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES
from rtseg.data.findings.finding import CAUTION, FAULT, NOTE, Finding, Severity, counted, named, verb
from rtseg.data.findings.looks import Seen

_MOST = 1_000_000  # files and folders that are looked at
_SYSTEM = ("thumbs.db", "desktop.ini", "icon\r", "ehthumbs.db")
_NOT_READ = (
    ".gif", ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl", ".tga", ".ppm", ".pgm", ".pbm", ".exr", ".hdr",
    ".dng", ".cr2", ".nef", ".arw", ".psd", ".svg", ".dcm", ".nii",
)  # fmt: skip
_TEXTS = (".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".html")


class _Kind(NamedTuple):
    severity: Severity
    kind: str
    what: str  # behind "3 files "
    repair: str


_JUNK = _Kind(NOTE, "junk", "of the system are left out", "remove them")
_HIDDEN = _Kind(NOTE, "hidden", "or folders that are hidden are left out", "rename them if they belong to the data set")
_DANGLING = _Kind(CAUTION, "link", "are links that lead nowhere", "repair or remove them")
_LOOP = _Kind(NOTE, "link", "are links to a folder above, which are not followed", "remove them")
_EMPTY = _Kind(CAUTION, "empty", "are empty", "copy or download them again, or remove them")
_JPEG = _Kind(
    FAULT, "lossy", "in the folder of the masks are saved in a lossy format, which changes class numbers, and are left "
    "out", "make them anew from the labels, as PNG",
)  # fmt: skip
_OTHER = _Kind(CAUTION, "other format", "have a format that is left out", "save them as PNG or JPEG")
_TEXT = _Kind(NOTE, "text", "are texts, and are left out", "no repair is needed")
_UNKNOWN = _Kind(NOTE, "stray", "are no images, and are left out", "remove them")


def strays(seen: Seen) -> Iterator[Finding]:
    """What lies in the folders that were searched, and was not found."""
    known = {str(path) for search in seen.searches for path in search.found}
    image_folders = {search.folder for search in seen.searches if ".jpg" in search.suffixes}
    by_kind: dict[_Kind, list[Path]] = defaultdict(list)
    for folder in _topmost({search.folder for search in seen.searches}):
        for path in _everything(folder):
            if str(path) not in known:
                only_masks = not any(path.is_relative_to(place) for place in image_folders)
                if kind := _kind(path, only_masks):
                    by_kind[kind].append(path)
    for kind, files in by_kind.items():
        files.sort()
        yield Finding(
            kind.severity,
            kind.kind,
            f"{counted(len(files), 'file')} {_agreeing(kind.what, len(files))} ({named(files)}); {kind.repair}",
            files,
        )


def _agreeing(what: str, number: int) -> str:
    words = what.split(" ")
    return what if number != 1 else " ".join(verb(1, {"are": "is", "have": "has"}.get(w, w), w) for w in words)


def _topmost(folders: set[Path]) -> list[Path]:
    return [
        folder
        for folder in sorted(folders)
        if folder.is_dir() and not any(other != folder and folder.is_relative_to(other) for other in folders)
    ]


def _everything(folder: Path) -> Iterator[Path]:
    """Files, hidden things and links below a folder. Links to folders are followed as `find_files` does."""
    waiting, looked = [(folder, frozenset[str]())], 0
    while waiting and looked < _MOST:
        place, above = waiting.pop()
        real = os.path.realpath(place)
        if real in above:
            yield place
            continue
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            looked += 1
            path = place / entry.name
            if not entry.name.startswith(".") and os.path.isdir(path):
                waiting.append((path, above | {real}))
            else:
                yield path


def _kind(path: Path, only_masks: bool) -> _Kind | None:
    name, suffix = path.name.lower(), path.suffix.lower()
    if os.path.islink(path) and not os.path.exists(path):
        return _DANGLING
    if os.path.isdir(path) and not name.startswith("."):
        return _LOOP
    if name in _SYSTEM or name.startswith("._") or name in (".ds_store", ".directory", ".ipynb_checkpoints"):
        return _JUNK
    if name.startswith("."):
        return _HIDDEN
    if os.path.isfile(path) and not os.path.getsize(path):
        return _EMPTY
    if suffix in IMAGE_SUFFIXES:
        return _JPEG if only_masks and suffix not in MASK_SUFFIXES else None
    if suffix in _NOT_READ:
        return _OTHER
    return _TEXT if suffix in _TEXTS else _UNKNOWN
