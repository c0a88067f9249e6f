"""COCO's JSON: polygons, whose union is the object, and run lengths. Smaller objects lie above larger ones.

Many tools export it: CVAT, Roboflow, Label Studio, Supervisely.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from rtseg.data import rle
from rtseg.data.coco_file import Annotation, CocoFile, read_coco
from rtseg.data.labels.shapes import Shape, mask_shape, paint, polygon_shape
from rtseg.data.labels.source import SKIP, Asked, Drawn, Labelled, Size, Source, listed, split_of, split_within
from rtseg.data.named_file import named_file
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json

_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_LOOKED_AT = 20  # images of a file that are looked for in a folder


def is_here(path: Path) -> bool:
    """Whether there is a file with COCO's lists."""
    return bool(_files(path))


def read(path: Path, asked: Asked) -> Source:
    """A file, or the files of a folder, one for each split.

    Raises:
        UserError: two files are of one split; one is panoptic, or see `read_coco`.
    """
    files = _files(path) or [path] * path.is_file()
    if not files:
        raise UserError(f"'{path}' has no .json with images, annotations and categories: give COCO's file")
    splits = {file: split_within(file.stem) or split_of(file.parent.name) for file in files}
    if len(set(splits.values())) < len(files):
        called = listed([file.name for file in files])
        raise UserError(f"'{path}' has {len(files)} COCO files, two of them of one split: {called}; give one of them")
    names: dict[str, int] = {}
    images: list[Labelled] = []
    notes: list[str] = []
    for file, split in splits.items():
        content = _content(file)
        folder = asked.images or _image_folder(file, content)
        coco = read_coco(file, folder, broken=asked.broken, boxes=False, option=SKIP)
        if len(set(coco.names)) < len(coco.names):
            double = next(name for name, number in Counter(coco.names).items() if number > 1)
            raise UserError(f"'{file}' has two categories called '{double}': give each its own name in the label tool")
        for name in coco.names:
            names.setdefault(name, len(names))
        notes += [coco.skipped] if coco.skipped else []
        images += _images(coco, folder, split, [names[name] for name in coco.names])
    return Source("COCO", tuple(names), images, notes=notes)


def _files(path: Path) -> list[Path]:
    """The COCO files at a path. Where some are called instances_..., the others (keypoints, captions) are left out."""
    found = [path] if path.is_file() else find_files(path, [".json"], "**/*")
    files = [file for file in found if file.suffix.lower() == ".json" and _looks_like(file)]
    return [file for file in files if file.name.startswith("instances_")] or files


def _looks_like(file: Path) -> bool:
    try:
        data = file.read_bytes()
    except OSError:
        return False
    return all(key in data for key in _KEYS)


def _content(file: Path) -> list[str]:
    """The names of the first images.

    Raises:
        UserError: it is a panoptic file, or no JSON.
    """
    content = parse_json(file.read_bytes(), f"'{file}'")
    listed_here = content if isinstance(content, dict) else {}
    annotations = listed_here.get("annotations")
    if isinstance(annotations, list) and any(isinstance(one, dict) and "segments_info" in one for one in annotations):
        raise UserError(
            f"'{file}' is COCO's panoptic format, whose masks are PNG files of segment numbers: give the file of "
            "instances (instances_*.json), or convert the PNG files to class numbers and describe them in a YAML "
            "(docs/data.md)"
        )
    images = listed_here.get("images")
    some = images[:_LOOKED_AT] if isinstance(images, list) else []
    return [name for one in some if isinstance(one, dict) and isinstance(name := one.get("file_name"), str)]


def _image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder near an annotation file that holds most of its images. Raises: UserError where none has any."""
    base = re.sub("^instances_", "", file.stem)
    near = (file.parent, file.parent.parent)
    inner = ("", "images", base, f"images/{base}", "data", "train", "val", "test", "JPEGImages")
    folders = [folder / name for folder in near for name in inner]
    best = max(folders, key=lambda folder: sum(named_file(folder, name) is not None for name in names))
    if names and not any(named_file(best, name) for name in names):
        raise UserError(f"'{file}': its images, such as '{names[0]}', are not near it: give their folder with --images")
    return best


def _images(coco: CocoFile, folder: Path, split: str | None, classes: Sequence[int]) -> list[Labelled]:
    return [
        Labelled(
            image.path.relative_to(folder).with_suffix("").as_posix(),
            image.path,
            partial(_draw, coco, place, classes),
            split,
            image.size,
        )
        for place, image in enumerate(coco.images)
    ]


def _draw(coco: CocoFile, place: int, classes: Sequence[int], size: Size) -> Drawn:
    counts: Counter[str] = Counter()

    def shape(one: Annotation) -> Shape:
        label = classes[one.label]
        if isinstance(one.segmentation, Mapping):
            return mask_shape(label, rle.decode(one.segmentation))
        return polygon_shape(label, one.segmentation, size, counts)

    return paint(map(shape, coco.annotations(place)), size, counts, by_area=True)
