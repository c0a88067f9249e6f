"""The class maps in a folder of results of `rtseg predict`, read back one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import cv2
import numpy as np

from rtseg.data.labels.source import Color
from rtseg.deploy.folder.result_names import RECORD, result_files
from rtseg.deploy.folder.results import read_record
from rtseg.errors import UserError

_NO_CLASS = 65535  # one more than the number of the last class can be


class ClassMap(NamedTuple):
    """A result.

    Attributes:
        name: of its files.
        image: the image's path below its source.
        classes: (H, W) class numbers.
    """

    name: str
    image: PurePosixPath
    classes: np.ndarray


class ClassMaps:
    """The results of a folder.

    Args:
        folder: with the record of the results.
        what: is made of them, for the error.

    Attributes:
        names, palette: of the classes.

    Raises:
        UserError: there are no results.
    """

    def __init__(self, folder: Path, what: str) -> None:
        record = read_record(folder / RECORD)
        if not record:
            raise UserError(f"there are no results in '{folder}', so '{what}' is not written")
        classes, self._lines = record[0]["classes"], [line for line in record[1:] if "frames" not in line]  # films have
        self.names: list[str] = [one["name"] for one in classes]
        self.palette: list[Color] = [tuple(one["rgb"]) for one in classes]
        self._folder, self._ids = folder, [one["id"] for one in classes]

    def __iter__(self) -> Iterator[ClassMap]:
        """Raises: UserError where a class map cannot be read, or is not of these classes."""
        for line in self._lines:
            name = line["name"]
            pixels = _class_map(self._folder / result_files(name)[0], self._ids)
            yield ClassMap(name, PurePosixPath(name).parent / line["image"], pixels)


def _class_map(path: Path, ids: Sequence[int]) -> np.ndarray:
    """(H, W) class numbers of a file whose pixels are ids."""
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None or pixels.ndim != 2:
        raise UserError(f"'{path}' is not a class map of `rtseg predict`: predict the image again, with --overwrite")
    numbers = np.full(65536, _NO_CLASS, np.uint16)
    numbers[list(ids)] = np.arange(len(ids))
    found = numbers[pixels]
    if (found == _NO_CLASS).any():
        raise UserError(f"'{path}' has ids of no class of this network: predict the image again, with --overwrite")
    return found
