"""LabelMe's JSON, one file an image: polygons, rectangles, circles and masks; later shapes lie above earlier ones."""

import base64
import binascii
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from rtseg.data.coco_masks import fault, is_number
from rtseg.data.faults import Faults
from rtseg.data.files import MAX_PIXELS
from rtseg.data.header import image_size, upright_size
from rtseg.data.labels.shapes import Shape, mask_shape, paint, polygon_shape
from rtseg.data.labels.source import ANY_IMAGE, CLIPPED, Asked, Bytes, Drawn, Labelled, Size, Source, listed, split_of
from rtseg.data.named_file import named_file
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json
from rtseg.terminal import counted

_VERSIONS = ("3", "4", "5", "6", "7")  # the first part of those whose files are read as they are meant
_TWO_POINTS = ("rectangle", "circle", "mask")
_NO_AREA = ("point", "points", "line", "linestrip")
_AREAS = ("polygon", *_TWO_POINTS)
_LOOKED_AT = 20  # files


def is_here(path: Path) -> bool:
    """Whether one of the first files is of LabelMe."""
    return any(_shapes_of(file) is not None for file in _files(path)[:_LOOKED_AT])


def read(path: Path, asked: Asked) -> Source:
    """A file, or all files of a folder.

    Raises:
        UserError: none of them is of LabelMe.
    """
    root = path if path.is_dir() else path.parent
    faults, versions, others = Faults(), defaultdict[str, list[str]](list), list[str]()
    found: list[tuple[Path, dict[str, Any]]] = []
    for file in _files(path):
        content = _shapes_of(file, faults)
        if content is None:
            others.append(file.name)
        else:
            found.append((file, content))
            versions[str(content.get("version") or "not given")].append(file.name)
    if not found:
        raise UserError(f"'{path}' has no .json of LabelMe, which has shapes and imagePath: give the folder with them")
    names = sorted({str(one["label"]) for _, content in found for one in content["shapes"] if _label(one)})
    numbers = {name: k for k, name in enumerate(names)}
    images = [image for file, content in found if (image := _image(file, root, content, numbers, asked, faults))]
    notes = [
        f"{counted(len(some), 'file')} of LabelMe's version {version}, not tested here, such as '{some[0]}': "
        "look at the masks."
        for version, some in versions.items()
        if version.split(".")[0] not in _VERSIONS
    ]
    if others:
        notes.append(f".json files of another kind were left out: {listed(others)}.")
    used = {image.image for image in images}
    if without := [file for file in find_files(root, ANY_IMAGE, "**/*") if file not in used and path.is_dir()]:
        notes.append(f"{counted(len(without), 'image')} without a .json left out, such as '{without[0].name}'.")
    return Source("LabelMe", tuple(names), images, faults=faults, notes=notes, above="later one in the file")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else find_files(path, [".json"], "**/*")


def _shapes_of(file: Path, faults: Faults | None = None) -> dict[str, Any] | None:
    """The content of a file; None where it is of another kind. What is no JSON is added to the faults."""
    try:
        content = parse_json(file.read_bytes(), f"'{file}'")
    except (UserError, OSError):
        if faults is not None:
            faults.add("files that are not JSON", file.name)
        return None
    good = isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content
    return content if good else None


def _label(shape: Any) -> bool:
    return isinstance(shape, dict) and isinstance(shape.get("label"), str) and shape["label"] != ""


def _image(
    file: Path, root: Path, content: dict[str, Any], numbers: dict[str, int], asked: Asked, faults: Faults
) -> Labelled | None:
    """None where the image is missing."""
    image = _image_file(file, content, asked)
    if image is None:
        faults.add("images that are missing, and not in imageData either", f"{content['imagePath']} of {file.name}")
        return None
    size = _size(content, image)
    if size is None:
        faults.add("images that cannot be read", str(content["imagePath"]))
        return None
    shapes = list(_checked(content["shapes"], file.name, size, numbers, faults))
    named = image if isinstance(image, Path) and image.is_relative_to(root) else file
    name = named.relative_to(root).with_suffix("").as_posix()
    split = next(filter(None, map(split_of, file.relative_to(root).parts[:-1])), None)
    return Labelled(name, image, partial(_draw, shapes), split, size)


def _size(content: dict[str, Any], image: Path | Bytes) -> Size | None:
    """(height, width) as the file says it, or else the image; None where neither does."""
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if type(height) is int and type(width) is int and 0 < height * width <= MAX_PIXELS and height > 0:
        return height, width
    if isinstance(image, Path):
        return upright_size(image)
    found = image_size(image.read())
    return found and found[::-1]


def _image_file(file: Path, content: dict[str, Any], asked: Asked) -> Path | Bytes | None:
    """The image that a file is of: where it says, beside it, in the folder asked for, or in the file itself."""
    said = PurePosixPath(str(content["imagePath"]).replace("\\", "/"))
    folders = [file.parent] if asked.images is None else [asked.images, file.parent]
    for folder in folders:
        for name in (str(said), said.name):
            if said.suffix and (found := named_file(folder, name)):
                return Path(os.path.normpath(found))
    data = content.get("imageData")
    if not isinstance(data, str):
        return None
    try:
        start = base64.b64decode(data)
    except (binascii.Error, ValueError):
        return None
    return Bytes(lambda: start, ".jpg" if start.startswith(b"\xff\xd8") else ".png")


def _checked(
    shapes: Sequence[Any], name: str, size: Size, numbers: dict[str, int], faults: Faults
) -> Iterator[tuple[int, str, Any, str | None]]:
    """Label, kind, points and mask of the shapes that can be used."""
    for place, one in enumerate(shapes):
        where = f"shape {place + 1} of {name}"
        if not _label(one):
            faults.add("shapes without a label", where)
            continue
        kind, points = one.get("shape_type") or "polygon", one.get("points")
        flat = [number for point in points for number in point] if _are_points(points) else None
        if kind in _NO_AREA:
            faults.add("shapes without an area (point, line or linestrip)", where)
        elif kind not in _AREAS:
            faults.add(f"shapes of a type that is not one of {', '.join(_AREAS)}", f"{kind}, {where}")
        elif flat is None or not all(map(is_number, flat)):
            faults.add("shapes with something else than finite numbers", where)
        elif kind in _TWO_POINTS and len(points) != 2:
            faults.add("rectangles, circles and masks without exactly two points", where)
        elif kind == "polygon" and (wrong := fault([flat], size)):
            faults.add(wrong, where)
        elif kind == "mask" and _mask(one.get("mask"), flat) is None:
            faults.add("masks that are no PNG of the size of their box", where)
        else:
            yield numbers[one["label"]], kind, flat, one.get("mask") if kind == "mask" else None


def _are_points(points: Any) -> bool:
    return isinstance(points, list) and all(isinstance(point, list) and len(point) == 2 for point in points)


def _mask(text: Any, points: Sequence[float]) -> np.ndarray | None:
    """The pixels (h, w) bool in a box, as base64 of a PNG; None where they are not.

    The box includes the row and column of its second point.
    """
    try:
        with Image.open(BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as file:
            left, top, right, bottom = map(int, points)
            if file.size not in ((right - left + 1, bottom - top + 1), (right - left, bottom - top)):
                return None
            return np.asarray(file.convert("L")) > 0
    except Exception:  # Pillow meets damage with exceptions of any kind
        return None


def _draw(shapes: Sequence[tuple[int, str, Sequence[float], str | None]], size: Size) -> Drawn:
    counts: Counter[str] = Counter()
    return paint((_shape(*shape, size, counts) for shape in shapes), size, counts, by_area=False)


def _shape(label: int, kind: str, points: Sequence[float], mask: str | None, size: Size, counts: Counter[str]) -> Shape:
    if kind == "polygon":
        return polygon_shape(label, [points], size, counts)
    left, top, right, bottom = points
    if kind == "rectangle":
        return polygon_shape(label, [[left, top, right, top, right, bottom, left, bottom]], size, counts)
    if kind == "circle":  # its centre, and a point on it
        rows, columns = np.ogrid[: size[0], : size[1]]
        squared = (columns + 0.5 - left) ** 2 + (rows + 0.5 - top) ** 2
        return mask_shape(label, squared <= (right - left) ** 2 + (bottom - top) ** 2)
    pixels = _mask(mask, points)
    assert pixels is not None  # it was looked at when the file was read
    whole = np.zeros(size, bool)
    x, y = int(left), int(top)
    inside = pixels[max(0, -y) : max(0, size[0] - y), max(0, -x) : max(0, size[1] - x)]
    counts[CLIPPED] += inside.size < pixels.size
    y, x = max(0, y), max(0, x)
    whole[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return mask_shape(label, whole)
