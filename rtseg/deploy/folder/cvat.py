"""The class maps of a folder of results as CVAT's "Segmentation mask 1.1": `rtseg predict --labels cvat`.

CVAT takes each image by its name without ending, and matches labels by their names.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from rtseg.data.labels.cvat import BACKGROUND, HEAD, keeps
from rtseg.data.labels.source import Color
from rtseg.data.labels.voc import voc_colors
from rtseg.deploy.folder.class_maps import ClassMaps
from rtseg.errors import UserError
from rtseg.output.folders import make_folder, written_whole

_BLACK = (0, 0, 0)  # what CVAT takes for `background`


def write_cvat(file: Path, folder: Path) -> int:
    """Writes all results in a folder of `rtseg predict`, one image at a time.

    Args:
        file: a .zip; an older one is replaced when the new one is whole.
        folder: with the record of the results.

    Returns:
        The number of images.

    Raises:
        UserError: there are no results; a class has a name that CVAT would lose; two images have the same name without
            ending; a class map cannot be read, or is not of these classes; the disk refuses.
    """
    results = ClassMaps(folder, str(file))
    check_names(results.names)
    colors = _colors(results.names, results.palette)
    levels = np.array(colors, np.uint8)[:, ::-1]  # OpenCV's order
    names: list[str] = []
    make_folder(file.parent)
    with written_whole(file) as aside, zipfile.ZipFile(aside, "w") as archive:
        for result in results:
            name = result.image.with_suffix("").as_posix()
            if name in names:
                raise UserError(f"CVAT cannot tell two images called '{name}' apart: predict them into two folders")
            names.append(name)
            png = cv2.imencode(".png", levels[result.classes])[1].tobytes()
            archive.writestr(f"SegmentationClass/{name}.png", png)
        archive.writestr("labelmap.txt", _label_map(results.names, colors))
        quoted = [f'"{name}"' if " " in name or name.startswith("#") else name for name in names]
        archive.writestr("ImageSets/Segmentation/default.txt", "".join(f"{name}\n" for name in quoted))
    return len(names)


def check_names(names: Sequence[str]) -> None:
    """Raises: UserError where labelmap.txt would lose the name of a class: `#` begins a comment there."""
    if lost := [name for name in names if not keeps(name)]:
        raise UserError(
            f"the class {lost[0]!r} has no place in CVAT's labelmap.txt, where '#' begins a comment and a line break "
            "or a blank before the name is lost: take --labels coco or labelme"
        )


def _colors(names: Sequence[str], palette: Sequence[Color]) -> list[Color]:
    """A colour of its own for each class: the network's, or those of Pascal VOC. Black is for `background` alone."""
    others = [color for name, color in zip(names, palette, strict=True) if name != BACKGROUND]
    if len(set(others)) < len(others) or _BLACK in others:
        others = voc_colors(len(others) + 1)[1:]
    rest = iter(others)
    return [_BLACK if name == BACKGROUND else next(rest) for name in names]


def _label_map(names: Sequence[str], colors: Sequence[Color]) -> str:
    labels = {BACKGROUND: _BLACK, **dict(zip(names, colors, strict=True))}
    return "\n".join([HEAD, *(f"{name}:{','.join(map(str, color))}::" for name, color in labels.items()), ""])
