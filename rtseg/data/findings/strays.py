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
    noun: str
    what: tuple[str, str]  # behind one, and behind several
    repair: str


_OUT = ("is left out", "are left out")
_JUNK = _Kind(NOTE, "junk", "system file", _OUT, "remove junk")
_HIDDEN = _Kind(NOTE, "hidden", "hidden file", _OUT, "rename what belongs to the data set")
_DANGLING = _Kind(CAUTION, "link", "link", ("leads nowhere", "lead nowhere"), "repair or remove it")
_LOOP = _Kind(
    NOTE, "link", "link to a folder above", ("is not followed", "are not followed"), "remove it, or link what is meant"
)
_EMPTY = _Kind(CAUTION, "empty", "file", ("is empty", "are empty"), "copy or download it again, or remove it")
_LOSSY = _Kind(
    FAULT,
    "lossy",
    "file in the folder of the masks",
    ("has a lossy format and is left out", "have a lossy format and are left out"),
    "JPEG changes class numbers: make the masks anew from the labels, as PNG",
)
_OTHER = _Kind(CAUTION, "other format", "image of another format", _OUT, "save it as PNG or JPEG")
_TEXT = _Kind(NOTE, "text", "text", _OUT, "nothing is to be done unless it was to be an image")
_UNKNOWN = _Kind(NOTE, "stray", "other file", _OUT, "nothing is to be done unless it was to be an image")


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
            f"{counted(len(files), kind.noun)} {verb(len(files), *kind.what)} ({named(files)}); {kind.repair}",
            files,
        )


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
        return _LOSSY if only_masks and suffix not in MASK_SUFFIXES else None
    if suffix in _NOT_READ:
        return _OTHER
    return _TEXT if suffix in _TEXTS else _UNKNOWN
