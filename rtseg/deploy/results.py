"""The results of `rtseg predict` in a folder, and the record that says of which network and images they are.

An image called `a/x` has three files. `a/x.png` is for programs: grey, each pixel the id of its class. `a/x_colour.png`
and `a/x_overlay.jpg` are for the eye. `predictions.jsonl` has a first line about the network, then a line an image.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from rtseg.deploy.legend import draw_legend
from rtseg.deploy.overlay import colorize, overlay
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.result_names import LEGEND, RECORD, result_files
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.output.folders import check_empty, make_folder, write_whole

_REPAIR = "give another folder, or --overwrite to replace results in it"


class Results:
    """A folder of results.

    Args:
        folder: is made where it is missing.
        predictor: whose results they are.
        alpha: share of the colour in an overlay.
        resume: keep what is there of the same network and `alpha`.
        overwrite: write into a folder that is not empty.

    Attributes:
        folder: as given.
        pixels: class -> number of its pixels in all results.

    Raises:
        UserError: the folder is not empty, and neither `resume` nor `overwrite` is on; or it is to be resumed and is of
            another network, or has no record.
    """

    def __init__(self, folder: Path, predictor: Predictor, alpha: float, *, resume: bool, overwrite: bool) -> None:
        self.folder, self.predictor, self.alpha = folder, predictor, alpha
        self.pixels: Counter[int] = Counter()
        self._head = {
            "network": predictor.identity,
            "alpha": alpha,
            "classes": [
                {"name": name, "id": int(number), "rgb": list(color)}
                for name, number, color in zip(
                    predictor.class_names,
                    predictor.card.ids or range(predictor.card.num_classes),
                    predictor.palette,
                    strict=True,
                )
            ],
        }
        found = _read(folder / RECORD)
        self._begun = False
        self._before: dict[str, dict[str, Any]] = {}
        if resume and found:
            self._check_same(found[0])
            self._before = {line["name"]: line for line in found[1:]}
        elif resume:
            check_empty(folder, f"--resume needs its {RECORD}, which is not there; {_REPAIR}")
        elif not overwrite:
            same = bool(found) and found[0] == self._head
            check_empty(folder, _REPAIR + ", or --resume to add what is missing" * same)

    def _check_same(self, head: Mapping[str, Any]) -> None:
        what = {
            "network": "another network, or the same at another size",
            "alpha": f"another --alpha ({head.get('alpha')})",
            "classes": "other classes, ids or colours",
        }
        for key, value in self._head.items():
            if head.get(key) != value:
                raise UserError(f"the results in '{self.folder}' are of {what[key]}; {_REPAIR}")

    def _begin(self) -> None:
        """Writes the first line of the record, and the lines of what is kept: with the first result, not before."""
        lines = [json.dumps(line) + "\n" for line in (self._head, *self._before.values())]
        write_whole(self.folder / RECORD, "".join(lines))
        self._begun = True

    def has(self, image: Path, name: str) -> bool:
        """Whether the results of this image are there, by the file's size and time.

        If so, they count in `pixels`; if not, the record loses what it says of them.
        """
        before = self._before.get(name)
        if before is None:
            return False
        if not self._is_whole(image, before):
            del self._before[name]
            return False
        self.pixels.update({int(k): count for k, count in before["pixels"].items()})
        return True

    def _is_whole(self, image: Path, before: Mapping[str, Any]) -> bool:
        """Whether a line of the record is of this image as it is now, and its results are there."""
        try:
            return before.items() >= _file_facts(image).items() and all(
                os.path.isfile(self.folder / file) for file in result_files(before["name"])
            )
        except OSError:
            return False

    def write(self, image: Path, name: str, pixels: np.ndarray, classes: np.ndarray) -> None:
        """Writes the three files of an image and its line in the record.

        Args:
            image: the file that it came from.
            pixels: (H, W, 3) uint8 RGB.
            classes: (H, W) class numbers.

        Raises:
            UserError: a file cannot be written.
        """
        class_map, colours, overlaid = (self.folder / file for file in result_files(name))
        drawn = overlay(pixels, classes, self.predictor.palette, self.alpha, outlines=True)
        make_folder(class_map.parent)
        if not self._begun:
            self._begin()
        _write(class_map, self.predictor.to_ids(classes))
        write_whole(colours, self._colours(classes))
        _write(overlaid, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        counts = np.bincount(classes.reshape(-1))
        found = {int(k): int(counts[k]) for k in np.flatnonzero(counts)}
        self.pixels.update(found)
        line = {"name": name, **_file_facts(image), "pixels": {str(k): count for k, count in found.items()}}
        with refusals_told(self.folder / RECORD), (self.folder / RECORD).open("a") as record:
            record.write(json.dumps(line) + "\n")

    def _colours(self, classes: np.ndarray) -> bytes:
        """A PNG whose palette has the colours; its numbers are the ids where these fit, else class numbers."""
        palette, ids = self.predictor.palette, self.predictor.card.ids or range(len(self.predictor.palette))
        encoded = io.BytesIO()
        if len(palette) > 256:
            Image.fromarray(colorize(classes, palette)).save(encoded, "PNG", compress_level=3)
            return encoded.getvalue()
        numbers = ids if max(ids) < 256 else range(len(palette))
        table = np.zeros((256, 3), np.uint8)
        table[list(numbers)] = palette
        image = Image.fromarray(np.array(numbers, np.uint8)[classes])
        image.putpalette(table.tobytes())
        image.save(encoded, "PNG", compress_level=3)
        return encoded.getvalue()

    def counts(self) -> list[int]:
        """Pixels of class 0..K-1 in all results."""
        return [self.pixels[k] for k in range(self.predictor.card.num_classes)]

    def write_legend(self) -> None:
        """Writes the legend of all overlays."""
        encoded = io.BytesIO()
        draw_legend(self.predictor.class_names, self.predictor.palette, self.counts()).save(encoded, "PNG")
        write_whole(self.folder / LEGEND, encoded.getvalue())


def _read(record: Path) -> list[dict[str, Any]]:
    """The lines of a record; empty if it is not one. The last line may have broken off when the command was killed."""
    try:
        lines = record.read_text().splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    whole = [
        line
        for line in found[1:]
        if isinstance(line, dict) and isinstance(line.get("name"), str) and isinstance(line.get("pixels"), dict)
    ]
    return [found[0], *whole] if found and isinstance(found[0], dict) and "network" in found[0] else []


def _file_facts(image: Path) -> dict[str, Any]:
    status = image.stat()
    return {"image": image.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _write(path: Path, pixels: np.ndarray) -> None:
    """Grey or BGR."""
    encoded, data = cv2.imencode(path.suffix, pixels)
    if not encoded:
        raise UserError(f"'{path}' cannot hold {pixels.shape[1]}x{pixels.shape[0]} pixels (width x height)")
    write_whole(path, data.tobytes())
