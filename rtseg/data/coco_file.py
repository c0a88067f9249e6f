"""COCO's annotation files: read, checked, and kept so that loader processes share them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from rtseg.data.coco_masks import Segmentation, draw, fault, is_number
from rtseg.data.faults import Broken, Faults
from rtseg.data.header import upright_size
from rtseg.data.intact import unusable_images
from rtseg.data.named_file import named_file
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json

_LISTS = ("images", "annotations", "categories")
_LONGEST_SIDE = 65535


class Image(NamedTuple):
    """An image that a file lists: its number there, its file, its (height, width)."""

    id: int
    path: Path
    size: tuple[int, int]


class Annotation(NamedTuple):
    """One object, or one crowd of them.

    Attributes:
        label: class 0..K-1.
        box: left, top, right, bottom in pixels, as the file has it; zeros where none was asked for.
        area: in pixels; None: the file does not say.
        crowd: whether it stands for many.
    """

    label: int
    segmentation: Segmentation
    box: tuple[float, float, float, float]
    area: float | None
    crowd: bool


class Packed:
    """Lists of plain values in one block of memory.

    Python counts references inside its objects, so a loader process would copy each object that it only reads.
    """

    def __init__(self, items: Iterable[Any]) -> None:
        texts = [json.dumps(item).encode() for item in items]
        self._ends = np.cumsum([0, *map(len, texts)])
        self._bytes = np.frombuffer(b"".join(texts), np.uint8)

    def __getitem__(self, place: int) -> Any:
        return json.loads(self._bytes[self._ends[place] : self._ends[place + 1]].tobytes())


@dataclass(frozen=True)
class CocoFile:
    """What a file says of a folder of images.

    Attributes:
        images: those that can be used.
        names, ids: of the classes; class k is called names[k], and ids[k] in the file.
        skipped: a line about what is left out; None: nothing.
    """

    images: Sequence[Image]
    names: tuple[str, ...]
    ids: tuple[int, ...]
    packed: Packed
    skipped: str | None

    def annotations(self, place: int) -> list[Annotation]:
        """Those of `images[place]`."""
        return [Annotation(label, shape, tuple(box), *rest) for label, shape, box, *rest in self.packed[place]]


def read_coco(
    file: Path, folder: Path, *, broken: Broken = "refuse", boxes: bool = True, option: str = "--data.broken=skip"
) -> CocoFile:
    """Reads an annotation file and looks whether its images are there.

    Args:
        file: JSON in COCO's format.
        folder: with the images.
        broken: "refuse" stops at what cannot be used; "skip" leaves it out: an annotation alone, or an image with its
            annotations. Only then the images' headers and ends are looked at.
        boxes: whether an annotation needs one. Else those of all are zeros.
        option: what to give for "skip", for the error.

    Raises:
        UserError: the file is missing, is not JSON, has no images or no categories; or something in it cannot be used.
            Each kind of fault is counted and named.
    """
    if not file.is_file():
        raise UserError(f"there is no annotation file '{file}': give its place with --data.annotations")
    content = parse_json(file.read_bytes(), f"'{file}'")
    if isinstance(content, dict):
        content.setdefault("annotations", [])  # COCO's own test files have none
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _LISTS):
        raise UserError(f"'{file}' is not in COCO's format: it needs the lists images, annotations and categories")
    if not content["images"]:
        raise UserError(f"'{file}' lists no images: give a file with some")
    names, ids = _categories(content["categories"], file)
    faults = Faults()
    images, listed = _images(content["images"], folder, faults)
    if broken == "skip":
        _leave_out_unusable(images, faults)
    by_image: dict[int, list[Annotation]] = {number: [] for number in images}
    numbers: set[str] = set()
    for one in content["annotations"]:
        if (own := _annotation(one, images, listed, ids, faults, boxes)) is None:
            continue
        if (number := one.get("id")) is not None and str(number) in numbers:
            faults.add("annotations with the number of another", f"annotation {number}")
            continue
        numbers.add(str(number))
        by_image[one["image_id"]].append(own)
    if faults.found and (broken == "refuse" or not images):
        repair = f", or give {option} to leave it out" if images else ""
        raise UserError(f"'{file}' has what cannot be used:{faults}\nCorrect it{repair}")
    skipped = f"Left out of '{file}':{faults}" if faults.found else None
    return CocoFile(list(images.values()), names, ids, Packed(by_image.values()), skipped)


def _categories(listed: list[Any], file: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and ids, in the order of the ids."""
    names: dict[Any, str]
    try:
        names = {one["id"]: str(one["name"]) for one in listed}
    except (KeyError, TypeError):
        names = {None: ""}
    if not all(type(number) is int for number in names):
        raise UserError(f"'{file}': each of its categories needs a whole number as id and a name")
    if not names or len(names) < len(listed):
        raise UserError(f"'{file}' has {len(listed)} categories with {len(names)} different ids: give each its own")
    ids = tuple(sorted(names))
    return tuple(names[k] for k in ids), ids


def _images(listed: list[Any], folder: Path, faults: Faults) -> tuple[dict[int, Image], set[int]]:
    """Those that can be used, by number; and the numbers of all."""
    images: dict[int, Image] = {}
    numbers: set[int] = set()
    for one in listed:
        number, name = (one.get("id"), one.get("file_name")) if isinstance(one, dict) else (None, None)
        if type(number) is not int or not isinstance(name, str):
            faults.add("images without a number or file name", one)
            continue
        path = PurePosixPath(name.replace("\\", "/"))
        leads_out = path.is_absolute() or ".." in path.parts
        file = None if leads_out else named_file(folder, name)
        size = one.get("height"), one.get("width")
        if size == (None, None) and file is not None:  # some tools leave them out
            size = upright_size(file) or size
        if number in numbers:
            faults.add("images with the number of another", name)
        elif not all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in size):
            faults.add("images without height and width", name)
        elif leads_out:
            faults.add("images with a name that leads out of the folder", name)
        elif file is None:
            faults.add(f"images without a file in '{folder}'", name)
        else:
            images[number] = Image(number, file, size)
        numbers.add(number)
    return images, numbers


def _leave_out_unusable(images: dict[int, Image], faults: Faults) -> None:
    """Takes out the images whose files are cut, or have another size than the annotation file says."""
    unusable = unusable_images({image.path: image.size for image in images.values()})
    for image in [image for image in images.values() if image.path in unusable]:
        faults.add("images cut or of another size than annotated", image.path.name)
        del images[image.id]


def _annotation(
    one: Any, images: Mapping[int, Image], listed: set[int], ids: Sequence[int], faults: Faults, boxes: bool
) -> Annotation | None:
    """None where it cannot be used, or belongs to an image that cannot."""
    if not isinstance(one, dict) or type(one.get("image_id")) is not int:
        faults.add("annotations without an image", one.get("id") if isinstance(one, dict) else one)
        return None
    name, number, category, box = one.get("id"), one["image_id"], one.get("category_id"), one.get("bbox")
    if not boxes:
        box = [0, 0, 0, 0]
    if number not in listed:
        faults.add("annotations of no image", f"annotation {name} of image {number}")
    elif category not in ids:
        faults.add("annotations of no category", f"annotation {name} of category {category}")
    elif number in images:
        if kind := fault(one.get("segmentation"), images[number].size):
            faults.add(kind, f"annotation {name}")
        elif not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            faults.add("annotations without a box of four numbers", f"annotation {name}")
        else:
            left, top, width, height = box
            if width < 0 or height < 0:
                faults.add("annotations whose box has a negative side", f"annotation {name}")
                return None
            if boxes and not width * height and _is_area(draw(one["segmentation"], images[number].size)):
                faults.add("annotations with an empty box around a mask that is not empty", f"annotation {name}")
                return None
            area = one["area"] if is_number(one.get("area")) else None
            corners = (left, top, left + width, top + height)
            return Annotation(ids.index(category), one["segmentation"], corners, area, bool(one.get("iscrowd", 0)))
    return None


def _is_area(mask: np.ndarray) -> bool:
    """Whether a mask (H, W) has more than a line: COCO itself has a few objects whose polygons and boxes are lines."""
    return bool(min(mask.any(0).sum(), mask.any(1).sum()) > 1)
