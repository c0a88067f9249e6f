"""YOLO's polygons: data.yaml with names and folders, and for each image a .txt of `class x y x y ...`, from 0 to 1.

Smaller objects lie above larger ones. An image without a .txt, or with an empty one, has no object.
"""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rtseg.data.coco_masks import fault
from rtseg.data.faults import Faults
from rtseg.data.labels.pairs import read_lines
from rtseg.data.labels.shapes import paint, polygon_shape
from rtseg.data.labels.source import ANY_IMAGE, Asked, Drawn, Labelled, Size, Source
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.terminal import counted
from rtseg.yaml_file import LISTS, read_yaml

_SPLITS = {"train": "train", "val": "val", "valid": "val", "test": "test"}
_BOX = 4  # numbers of a line that is a box alone


def is_here(path: Path) -> bool:
    """Whether there is a YAML with names and a folder of training images."""
    return _description(path) is not None


def read(path: Path, asked: Asked) -> Source:
    """A folder, or its data.yaml.

    Raises:
        UserError: there is no such YAML, its names or folders are no such, or all labels are boxes.
    """
    file = _description(path)
    if file is None:
        raise UserError(f"'{path}' has no data.yaml with `names` and `train`: give the folder that holds it")
    content = read_yaml(file, LISTS)
    names = _names(content["names"], file)
    faults, counts, images = Faults(), Counter[str](), list[Labelled]()
    for key, split in _SPLITS.items():
        for root, image in _images(content, key, file, asked):
            label = _label_file(image)
            shapes = _read_label(label, len(names), faults, counts) if label.is_file() else []
            counts["without"] += not shapes
            name = image.relative_to(root).with_suffix("").as_posix()
            images.append(Labelled(name, image, partial(_draw, shapes), split))
    if counts["boxes"] and not counts["polygons"]:
        raise UserError(
            f"'{path}' has {counted(counts['boxes'], 'box', 'es')} and no outline: `class x y width height` does "
            "not say which pixels an object has; export polygons (YOLO segmentation) or masks"
        )
    notes = []
    if counts["without"]:
        notes.append(f"Images without an object: {counts['without']} of {len(images)}.")
    return Source("YOLO", names, images, faults=faults, notes=notes)


def _description(path: Path) -> Path | None:
    if path.is_file():
        files = [path] if path.suffix.lower() in (".yaml", ".yml") else []
    else:
        files = sorted([*path.glob("*.yaml"), *path.glob("*.yml")], key=lambda file: file.stem != "data")
    for file in files:
        try:
            content = read_yaml(file, LISTS)
        except UserError:
            continue
        if isinstance(content, dict) and "names" in content and _SPLITS.keys() & content.keys():
            return file
    return None


def _names(value: Any, file: Path) -> tuple[str, ...]:
    if isinstance(value, dict) and sorted(value) == list(range(len(value))):
        value = [value[k] for k in range(len(value))]
    if not isinstance(value, list):
        raise UserError(f"'{file}': `names` is a list, or {{0: name, 1: name, ...}} without gaps, not {value!r:.80}")
    return tuple(map(str, value))


def _images(content: dict[str, Any], key: str, file: Path, asked: Asked) -> list[tuple[Path, Path]]:
    """Root and path of the images of a split."""
    value = content.get(key)
    places = value if isinstance(value, list) else [value] if value else []
    found: list[tuple[Path, Path]] = []
    for place in places:
        if not isinstance(place, str):
            raise UserError(f"'{file}': `{key}` is a folder or a list of them, not {value!r:.80}")
        folder = _folder(place, content, file, asked)
        if folder is None:
            raise UserError(
                f"'{file}': there is no '{place}', which `{key}` names: correct it, or give the folder with --images"
            )
        if folder.is_file():
            paths = [folder.parent / line for line in read_lines(folder)]
            found += [(folder.parent if path.is_relative_to(folder.parent) else path.parent, path) for path in paths]
        else:
            found += [(folder, path) for path in find_files(folder, ANY_IMAGE, "**/*")]
    return found


def _folder(place: str, content: dict[str, Any], file: Path, asked: Asked) -> Path | None:
    """Where a place of the YAML is; below `path` of it, or beside it, also where it was written elsewhere (`../`)."""
    roots = [file.parent / str(content.get("path") or ""), file.parent]
    inner = place
    while inner.startswith("../"):
        inner = inner.removeprefix("../")
    candidates = [root / name for root in roots for name in (place, inner)]
    if asked.images is not None:
        candidates = [asked.images / place, asked.images / Path(place).name, asked.images, *candidates]
    return next((candidate for candidate in candidates if os.path.exists(candidate)), None)


def _label_file(image: Path) -> Path:
    """The last folder called `images` on the way becomes `labels`; without one, the file lies beside the image."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        place = len(parts) - 2 - parts[-2::-1].index("images")
        parts[place] = "labels"
    return Path(*parts).with_suffix(".txt")


def _read_label(file: Path, classes: int, faults: Faults, counts: Counter[str]) -> list[tuple[int, list[float]]]:
    """Class and relative coordinates of each line that can be used."""
    shapes = []
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        faults.add("label files that cannot be read", file.name)
        return []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"line {number} of {file.name}"
        try:
            label, *ring = [float(word) for word in line.split()]
        except ValueError:
            faults.add("lines with something else than numbers", where)
            continue
        if len(ring) == _BOX:
            counts["boxes"] += 1
            faults.add("lines with a box and no outline", where)
        elif not label.is_integer() or not 0 <= label < classes:
            faults.add(f"objects of no class (there are 0 to {classes - 1})", f"{label:g}, {where}")
        elif wrong := fault([ring], (1, 1)):
            faults.add(wrong, where)
        else:
            counts["polygons"] += 1
            shapes.append((int(label), ring))
    return shapes


def _draw(shapes: Sequence[tuple[int, list[float]]], size: Size) -> Drawn:
    counts: Counter[str] = Counter()
    height, width = size

    def scaled(ring: list[float]) -> list[float]:
        return [number * (width, height)[k % 2] for k, number in enumerate(ring)]

    drawn = (polygon_shape(label, [scaled(ring)], size, counts) for label, ring in shapes)
    return paint(drawn, size, counts, by_area=True)
