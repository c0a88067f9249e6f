"""Pascal VOC: SegmentationClass with palette PNGs, ImageSets/Segmentation/{train,val}.txt, JPEGImages.

The names are VOC's own twenty, or those of a file class_names.txt, as labelme2voc writes it.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from rtseg.data.dataset import IGNORE
from rtseg.data.faults import Faults
from rtseg.data.labels.pairs import (
    Decode,
    ImageFinder,
    labelled_by_mask,
    masks_below,
    read_colors,
    read_lines,
    read_names,
    read_numbers,
    recolored,
    relabelled,
)
from rtseg.data.labels.source import UNLABELLED, Asked, Color, Labelled, Source, split_of
from rtseg.errors import UserError

_FOLDERS = ("SegmentationClass", "SegmentationClassPNG")
_LISTS = "ImageSets/Segmentation"
_NAMES = "class_names.txt"
_BACKGROUND = ("background", "_background_")
# fmt: off
VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)
# fmt: on
_BORDER = (224, 224, 192)
NOBODY = "are `background`, which the tool writes where nobody drew"


def is_here(path: Path) -> bool:
    """Whether there is a folder of masks, and none of CVAT's lists of colours."""
    return mask_folder(path) is not None and not (path / "labelmap.txt").is_file()


def mask_folder(path: Path) -> Path | None:
    """The folder of masks of classes."""
    return next((path / name for name in _FOLDERS if (path / name).is_dir()), None)


def read(path: Path, asked: Asked) -> Source:
    """Raises: UserError where there are no masks, or no images for them."""
    names, said = _class_names(path)
    table = {k: UNLABELLED if name in _BACKGROUND else k for k, name in enumerate(names)} | {255: IGNORE}
    kept = [k for k, name in enumerate(names) if name not in _BACKGROUND]
    table |= {k: place for place, k in enumerate(kept)}
    colors = {color: table[k] for k, color in enumerate(voc_colors(len(names)))} | {_BORDER: IGNORE}
    images, faults = pairs_of(path, asked, partial(_decode, table, colors))
    return Source(
        "Pascal VOC",
        tuple(names[k] for k in kept),
        images,
        palette=tuple(voc_colors(len(names))[k] for k in kept),
        faults=faults,
        notes=[said],
        nobody=NOBODY,
    )


def _class_names(path: Path) -> tuple[list[str], str]:
    """The name of each number, and where they come from."""
    file = path / _NAMES
    if not file.is_file():
        return ["background", *VOC], f"There is no {_NAMES}: the classes are the 20 of Pascal VOC."
    return [name for name in read_lines(file) if name != "__ignore__"], f"The classes are those of {_NAMES}."


def voc_colors(number: int) -> list[Color]:
    """The colours of VOC's numbers 0, 1, ...: the bits of a number, spread over those of red, green and blue."""

    def color(k: int) -> Color:
        levels = [sum((k >> 3 * bit + channel & 1) << 7 - bit for bit in range(8)) for channel in range(3)]
        return levels[0], levels[1], levels[2]

    return [color(k) for k in range(number)]


def _decode(numbers: Mapping[int, int], colors: Mapping[Color, int], path: Path) -> np.ndarray:
    repair = f"name all classes in {_NAMES}, one a line, beginning with the one of number 0; CVAT's are in labelmap.txt"
    raw = read_numbers(path)
    return (
        relabelled(raw, numbers, path, repair) if raw.ndim == 2 else recolored(read_colors(path), colors, path, repair)
    )


def pairs_of(path: Path, asked: Asked, decode: Decode) -> tuple[list[Labelled], Faults]:
    """The images of the lists, or where there are none of all masks.

    Raises:
        UserError: there are no masks, or no images for them.
    """
    folder = mask_folder(path)
    masks = masks_below(folder) if folder else {}
    if not masks:
        raise UserError(f"'{path}' has no masks in {' or '.join(_FOLDERS)}: give the folder that holds it")
    finder = ImageFinder([asked.images] if asked.images else [path / "JPEGImages", path / "images", path])
    faults = Faults()
    images = []
    for line, split in _listed(path) or [(name, None) for name in masks]:
        name = line if line in masks else line.split()[0]  # some lists have a number behind the name
        if name not in masks:
            faults.add("images without a mask", name)
        elif (image := finder.find(name)) is None or image == masks[name]:
            where = "give their folder with --images; CVAT exports them only where 'Save images' is chosen"
            faults.add(f"masks without an image ({where})", name)
        else:
            images.append(labelled_by_mask(name, image, masks[name], decode, split))
    return images, faults


def _listed(path: Path) -> list[tuple[str, str | None]]:
    """Name and split of what the lists have; a list such as trainval only where there is none of its own splits."""
    lists = {file.stem: read_names(file) for file in sorted((path / _LISTS).glob("*.txt"))}
    known = {stem: names for stem, names in lists.items() if stem in ("train", "val", "test")}
    return list(_once(known or lists))


def _once(lists: Mapping[str, list[str]]) -> Iterator[tuple[str, str | None]]:
    seen: set[str] = set()
    for stem, names in lists.items():
        for name in names:
            if name not in seen:
                seen.add(name)
                yield name, split_of(stem)
