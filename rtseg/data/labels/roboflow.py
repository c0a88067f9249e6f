"""Roboflow's "semantic segmentation masks": _classes.csv, and NAME_mask.png beside each NAME.jpg."""

import csv
import re
from functools import partial
from pathlib import Path

import numpy as np

from rtseg.data.dataset import IGNORE
from rtseg.data.faults import Faults
from rtseg.data.labels.pairs import labelled_by_mask, read_lines, read_numbers, relabelled
from rtseg.data.labels.source import ANY_IMAGE, UNLABELLED, Asked, Labelled, Source, split_of
from rtseg.data.labels.voc import NOBODY
from rtseg.data.walk import find_files
from rtseg.errors import UserError

_CLASSES, _MASK = "_classes.csv", "_mask.png"


def is_here(path: Path) -> bool:
    """Whether there is a list of classes, here or in a folder below."""
    return bool(_lists(path))


def read(path: Path, asked: Asked) -> Source:
    """Raises: UserError where there is no list of classes, or two differ."""
    lists = _lists(path)
    if not lists:
        raise UserError(f"'{path}' has no {_CLASSES}: export from Roboflow as 'Semantic Segmentation Masks'")
    numbers = _numbers(lists[0])
    if other := next((file for file in lists if _numbers(file) != numbers), None):
        raise UserError(f"'{lists[0]}' and '{other}' list other classes: convert the two folders on their own")
    kept = [number for number, name in numbers.items() if name != "background"]
    table = dict.fromkeys(numbers, UNLABELLED) | {255: IGNORE} | {number: k for k, number in enumerate(kept)}
    faults, images = Faults(), list[Labelled]()
    for folder in [file.parent for file in lists]:
        split = split_of(folder.name)
        for image in find_files(folder, ANY_IMAGE):
            if image.name.endswith(_MASK):
                continue
            mask = folder / f"{image.stem}{_MASK}"
            if mask.is_file():
                images.append(labelled_by_mask(image.stem, image, mask, partial(_decode, table), split))
            else:
                faults.add("images without a mask", image.name)
    return Source("Roboflow", tuple(numbers[number] for number in kept), images, faults=faults, nobody=NOBODY)


def _lists(path: Path) -> list[Path]:
    return [file for file in find_files(path, [".csv"], "**/*") if file.name == _CLASSES] if path.is_dir() else []


def _numbers(file: Path) -> dict[int, str]:
    """Number -> name. Raises: UserError where a line has something else."""
    rows = list(csv.reader(read_lines(file), skipinitialspace=True))
    numbers: dict[int, str] = {}
    for row in rows[1:]:  # the first line has the headings
        if len(row) != 2 or not re.fullmatch(r"\s*[0-9]{1,3}\s*", row[0]) or int(row[0]) > 255:
            raise UserError(f"'{file}': {','.join(row)!r} is not a pixel value and a class; export it again")
        numbers[int(row[0])] = row[1].strip()
    return numbers


def _decode(table: dict[int, int], path: Path) -> np.ndarray:
    return relabelled(read_numbers(path), table, path, f"{_CLASSES} does not have it; export both again")
