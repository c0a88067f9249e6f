"""The results of `rtseg predict` in a folder, and the record that says of which network and images they are.

An image called `a/x` has three files. `a/x.png` is for programs: grey, each pixel the id of its class. `a/x_colour.png`
and `a/x_overlay.jpg` are for the eye, and may be left out. `a/x_margin.png` is written where it is asked for.
`predictions.jsonl` has a first line about the network, then a line an image, and a line with `frames` a film.
"""

import io
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.deploy.drawing.margin_png import margin_png
from rtseg.deploy.folder.image_files import ImageFiles, Outputs
from rtseg.deploy.folder.legend import draw_legend
from rtseg.deploy.folder.result_names import LEGEND, RECORD, margin_file, result_files
from rtseg.deploy.pixels import for_people
from rtseg.deploy.prediction import Prediction, count_classes
from rtseg.deploy.predictor import Predictor
from rtseg.disk import refusals_told
from rtseg.errors import UserError
from rtseg.output.folders import check_empty, make_folder, write_whole

_REPAIR = "give another folder, or --overwrite to replace results in it"


class Results:
    """A folder of results. `write` may be called by several threads at once, `record` by one at a time.

    Args:
        folder: is made where it is missing.
        predictor: whose results they are.
        outputs: what is written for each image.
        resume: keep what is there of the same network and `alpha`.
        overwrite: write into a folder that is not empty.

    Attributes:
        folder, predictor, outputs: as given.
        pixels: class -> number of its pixels in all results.
        image_files: draws and encodes.
        earlier: names of what the folder's record named before.

    Raises:
        UserError: the folder is not empty, and neither `resume` nor `overwrite` is on; or it is to be resumed and is of
            another network, or has no record.
    """

    def __init__(self, folder: Path, predictor: Predictor, outputs: Outputs, *, resume: bool, overwrite: bool) -> None:
        self.folder, self.predictor, self.outputs = folder, predictor, outputs
        self.pixels: Counter[int] = Counter()
        self.image_files, self._overwrite = ImageFiles(predictor, outputs), overwrite
        self._head = {
            "network": predictor.identity,
            "alpha": outputs.alpha if outputs.overlays else None,
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
        found = read_record(folder / RECORD)
        self.earlier = {line["name"] for line in found[1:]}
        self._begun, self._beginning = False, threading.Lock()
        self._before: dict[str, dict[str, Any]] = {}
        if resume and found:
            self._check_same(found[0])
            self._before = {line["name"]: line for line in found[1:]}
        elif resume:
            check_empty(folder, f"--resume needs its {RECORD}, which is not there; {_REPAIR}")
        elif not overwrite:
            same = bool(found) and self._difference(found[0]) is None
            check_empty(folder, _REPAIR + ", or --resume to add the images that are missing" * same)

    def _check_same(self, head: Mapping[str, Any]) -> None:
        what = {
            "network": _other_network(_network_of(head), self.predictor.identity),
            "alpha": f"are of another --alpha ({head.get('alpha')})",
            "classes": "are of other classes, ids or colours",
        }
        if (key := self._difference(head)) is not None:
            raise UserError(f"the results in '{self.folder}' {what[key]}; {_REPAIR}")
        if self._head["alpha"] is None:
            self._head["alpha"] = head.get("alpha")  # of the overlays that are there

    def _difference(self, head: Mapping[str, Any]) -> str | None:
        """The first thing in which a record is of other results; without overlays `alpha` is nothing."""
        for key, value in self._head.items():
            found = _network_of(head) if key == "network" else head.get(key)
            if found != value and not (key == "alpha" and None in (found, value)):
                return key
        return None

    def _begin(self) -> None:
        """Writes the first line of the record, and the lines of what is kept: with the first result, not before."""
        with self._beginning:
            if not self._begun:
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
            return before.items() >= file_facts(image).items() and all(
                os.path.isfile(self.folder / file) for file in self.files(before["name"])
            )
        except OSError:
            return False

    def files(self, name: str) -> tuple[str, ...]:
        """The files of an image that are written."""
        files = result_files(name) if self.outputs.overlays else result_files(name)[:1]
        return (*files, margin_file(name)) if self.outputs.margin else files

    def predict(self, predictor: Predictor, image: np.ndarray) -> Prediction | np.ndarray:
        """The class map of what `read_pixels` gives, or where margins are written the prediction."""
        return predictor.prediction_of(image) if self.outputs.margin else predictor.classes_of(image)

    def write(self, image: Path, name: str, pixels: np.ndarray, found: Prediction | np.ndarray) -> dict[str, Any]:
        """Writes the files of an image. Those of an earlier run that are not written now are removed.

        Args:
            image: the file that it came from.
            pixels: what the predictor was given, (H, W, C).
            found: what `predict` returned.

        Returns:
            Its line in the record, for `record`.

        Raises:
            UserError: a file cannot be written.
        """
        classes = found.class_map if isinstance(found, Prediction) else found
        counts = count_classes(classes, self.predictor.card.num_classes)
        paths = [self.folder / file for file in result_files(name)]
        contents = self.image_files.encode(for_people(pixels, self.predictor.card), classes, counts)
        margin = margin_png(found.margin) if isinstance(found, Prediction) else None
        make_folder(paths[0].parent)
        self._begin()
        for path, content in zip(paths, contents, strict=False):
            write_whole(path, content)
        if margin is not None:
            write_whole(self.folder / margin_file(name), margin)
        for path in (*paths[len(contents) :], *[self.folder / margin_file(name)] * (margin is None)):
            path.unlink(missing_ok=True)
        there = {str(k): int(counts[k]) for k in np.flatnonzero(counts)}
        return {"name": name, **file_facts(image), "pixels": there}

    def record(self, line: Mapping[str, Any]) -> None:
        """Adds the line of an image or a film whose files are written.

        Raises:
            UserError: the disk refused.
        """
        self._begin()
        with refusals_told(self.folder / RECORD), (self.folder / RECORD).open("a") as record:
            record.write(json.dumps(line) + "\n")
        self.pixels.update({int(k): count for k, count in line["pixels"].items()})

    def counts(self) -> list[int]:
        """Pixels of class 0..K-1 in all results."""
        return [self.pixels[k] for k in range(self.predictor.card.num_classes)]

    def write_legend(self) -> None:
        """Writes the legend of all overlays; without overlays it replaces that of those kept, or removes it."""
        if not self.outputs.overlays:
            if self._overwrite:
                (self.folder / LEGEND).unlink(missing_ok=True)
            if not (self.folder / LEGEND).is_file():
                return
        encoded = io.BytesIO()
        predictor = self.predictor
        draw_legend(predictor.class_names, predictor.palette, self.counts(), self.image_files.colors).save(
            encoded, "PNG"
        )
        write_whole(self.folder / LEGEND, encoded.getvalue())


def read_record(record: Path) -> list[dict[str, Any]]:
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


def _network_of(head: Mapping[str, Any]) -> str:
    """The network of a record's first line in the words of `Predictor.identity`; older records have others for it."""
    said = str(head.get("network")).replace(", resized to None", ", images at their own size")
    return re.sub(r", resized to [\[(](\d+), (\d+)[\])]", r", images resized to sides of \1 and \2", said)


def _other_network(before: str, now: str) -> str:
    """How the network of results differs from that of this command; both as `Predictor.identity`."""
    (network, _, how), (other, _, how_now) = before.partition(", "), now.partition(", ")
    if network != other:
        return f"are of another network ({network}, now {other})"
    option = " (--tile and --overlap)" if "windows of" in before + now else ""
    return f"are of the same network, but it saw the images otherwise: {how}; now: {how_now}{option}"


def file_facts(image: Path) -> dict[str, Any]:
    """What a line of the record says of the file that it is of."""
    status = image.stat()
    return {"image": image.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
