"""CVAT's "Segmentation mask 1.1": as Pascal VOC, with labelmap.txt that gives each label its colour."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rtseg.data.labels.pairs import read_colors, read_lines, recolored, relabelled
from rtseg.data.labels.source import UNLABELLED, Asked, Color, Source
from rtseg.data.labels.voc import NOBODY, mask_folder, pairs_of
from rtseg.errors import UserError

_MAP = "labelmap.txt"
BACKGROUND = "background"
_LEVEL = re.compile("1?[0-9]{1,2}|2[0-4][0-9]|25[0-5]")
HEAD = "# label:color_rgb:parts:actions"


def is_here(path: Path) -> bool:
    """Whether there are masks and a list of their colours."""
    return (path / _MAP).is_file() and mask_folder(path) is not None


def keeps(name: str) -> bool:
    """Whether the list of colours can have a label: no comment, no blanks before it, and on one line."""
    return bool(name) and name == name.lstrip() and not name.startswith("#") and name.splitlines() == [name]


def read(path: Path, asked: Asked) -> Source:
    """Raises: UserError where the list of colours is none, or see `rtseg.data.labels.voc.read`."""
    labels = labels_of(path / _MAP)
    names = [name for name in labels if name != BACKGROUND]
    numbers = {k: names.index(name) if name in names else UNLABELLED for k, name in enumerate(labels)}
    colors = {labels[name]: k for k, name in enumerate(names)}
    colors.setdefault(labels.get(BACKGROUND, (0, 0, 0)), UNLABELLED)
    images, faults = pairs_of(path, asked, partial(_decode, numbers, colors))
    return Source(
        "CVAT",
        tuple(names),
        images,
        palette=tuple(labels[name] for name in names),
        faults=faults,
        nobody=NOBODY,
    )


def labels_of(file: Path) -> dict[str, Color]:
    """Label -> colour, in the order of the file.

    Raises:
        UserError: it is of another kind, or two labels share a name or a colour.
    """
    labels: dict[str, Color] = {}
    if not file.is_file():
        raise UserError(f"there is no '{file}', which gives the labels their colours: export again, or --format voc")
    for line in read_lines(file):
        if line.startswith("#"):
            continue
        name, *rest = line.rsplit(":", 3)
        levels = rest[0].split(",") if len(rest) == 3 else []
        if len(levels) != 3 or not all(
            re.fullmatch(r"\s*[0-9]{1,3}\s*", level) and int(level) < 256 for level in levels
        ):
            raise UserError(f"'{file}': {line!r} is not label:red,green,blue::; export it again")
        red, green, blue = map(int, levels)
        if name in labels or (red, green, blue) in labels.values():
            raise UserError(f"'{file}': the name or the colour of {line!r} is that of another label too")
        labels[name] = (red, green, blue)
    return labels


def _decode(numbers: Mapping[int, int], colors: Mapping[Color, int], path: Path) -> np.ndarray:
    """A grey mask has the numbers of the labels in their order."""
    found = read_colors(path)
    if found.ndim == 2:
        return relabelled(found, numbers, path, f"{_MAP} has {len(numbers)} labels; export both again")
    return recolored(found, colors, path, f"{_MAP} does not have it; export both again")
