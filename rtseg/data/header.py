"""The size of an image as the first bytes of its file state it, read before anything is decoded.

A decoder allocates what the header claims: 60 bytes can ask for gigabytes. The five containers of data sets are read
here in a few microseconds; Pillow, which takes up to 200, is asked for the others.
"""

import re
import struct
import warnings
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MOST_CHANNELS = 128  # of an image: as many as OpenCV resizes
_MOST_SEGMENTS = 100_000  # of a JPEG before its size; real ones have dozens
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # others are pixels, their restarts, and padding
_USUAL = ("PNG", "JPEG", "BMP", "WEBP", "TIFF", "GIF")  # Pillow's names
_MOST_CHUNKS = 1_000_000  # of a PNG; real ones have one for each 8 KiB or more
_TIFF_SIDES = {256: "width", 257: "height", 322: "tile width", 323: "tile height"}
NPY = b"\x93NUMPY"  # how a NumPy array's file begins
_NPY_HEADER = re.compile(rb"'shape': *\((\d+), *(\d+)\b")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that swap the sides


def image_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) that the decoder will make room for, or None where the bytes are no image that is known.

    Args:
        data: the whole file.
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _png(data)
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"BM"):
            return _bmp(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if is_tiff(data):
            return _tiff(data)
        if data.startswith(NPY):
            return _npy(data)
    except (struct.error, IndexError, OverflowError):  # the file ends inside its header
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(BytesIO(data)) as file:
                return file.size
    except Exception:  # Pillow's readers meet damaged data with exceptions of any kind
        return None


def upright_size(path: Path) -> tuple[int, int] | None:
    """(height, width) as the header says it, turned upright by the EXIF tag; None where it cannot be read."""
    try:
        with Image.open(path) as file:
            width, height = file.size
            return (width, height) if file.getexif().get(_ORIENTATION) in _TURNED else (height, width)
    except Exception:  # as in `image_size`
        return _other_upright_size(path)


def _other_upright_size(path: Path) -> tuple[int, int] | None:
    """The same of an array or of a TIFF of more channels than Pillow takes."""
    try:
        with path.open("rb") as file:
            head = file.read(4096)
            data = head + file.read() if is_tiff(head) else head if head.startswith(NPY) else b""
        turned = is_tiff(data) and tiff_tags(data).get(_ORIENTATION) in _TURNED
        size = image_size(data) if data else None
    except (OSError, struct.error):
        return None
    return size if size is None or turned else size[::-1]


def is_image(path: Path) -> bool:
    """Whether the first bytes of a file are those of an image of a usual kind, whatever its name says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images
            Image.open(path, formats=_USUAL).close()
            return True
    except Exception:  # as in `image_size`
        return False


def jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG's end mark follows its pixels.

    Looking for the mark alone would not do: telephones write a film behind it, and a preview in the header has its own.
    """
    return any(kind == 0xD9 for kind, _ in _segments(data))


def jpeg_scans(data: bytes) -> int:
    """How often a JPEG goes over its pixels: once, or a dozen times where it is progressive."""
    return sum(kind == 0xDA for kind, _ in _segments(data))


def _png(data: bytes) -> tuple[int, int] | None:
    """None also where a chunk ends behind the file: OpenCV makes room for what the chunk claims, up to 2 GiB."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        (length,) = struct.unpack_from(">I", data, at)
        if at + 12 + length > len(data):
            return None
        if data[at + 4 : at + 8] == b"IEND":
            return struct.unpack_from(">II", data, 16)
        at += 12 + length
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """(width, height) in the first frame header."""
    for kind, at in _segments(data):
        if kind in (0xD9, 0xDA):  # the end, or pixels before any size
            return None
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
    return None


def _segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Kind of each segment of a JPEG, and where its length is. Bytes between segments are skipped, as libjpeg does."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if not (marker := _MARKER.search(data, at)):
            return
        kind, at = data[marker.start() + 1], marker.end()
        yield kind, at
        if kind not in (0x01, 0xD8, 0xD9):  # these have no length
            at += max(2, int.from_bytes(data[at : at + 2], "big"))


def _bmp(data: bytes) -> tuple[int, int] | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)  # a height below 0 is that of an image from the top
    return abs(width), abs(height)


def _webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _npy(data: bytes) -> tuple[int, int] | None:
    """The first two sides of an array are height and width."""
    found = _NPY_HEADER.search(data, 0, 4096)
    return (int(found[2]), int(found[1])) if found else None


def is_tiff(data: bytes) -> bool:
    """Whether the bytes begin as a TIFF does, an ordinary one or one of more than 4 GiB."""
    return data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def tiff_tags(data: bytes) -> dict[int, int]:
    """The whole numbers in the first directory of a TIFF, by tag; of a list of up to two its first number.

    Raises:
        struct.error: the file ends inside its directory.
    """
    order = "<" if data[:1] == b"I" else ">"
    big = 0x2B in data[2:4]
    count, entry, offset = ("Q", 20, 8) if big else ("H", 12, 4)
    (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, offset)
    (number,) = struct.unpack_from(order + count, data, start)
    start += 8 if big else 2
    tags: dict[int, int] = {}
    for at in range(start, start + entry * min(number, 4096), entry):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        form = {3: "H", 4: "I", 16: "Q"}.get(kind)
        if form:
            (value,) = struct.unpack_from(order + form, data, at + (12 if big else 8))
            tags[tag] = max(value, tags.get(tag, 0))
    return tags


def _tiff(data: bytes) -> tuple[int, int] | None:
    """The larger of the first image and of a tile of it: libtiff makes room for both."""
    tags = tiff_tags(data)
    sides = {name: tags[tag] for tag, name in _TIFF_SIDES.items() if tag in tags}
    if "width" not in sides or "height" not in sides:
        return None
    sizes = [(sides["width"], sides["height"]), (sides.get("tile width", 0), sides.get("tile height", 0))]
    return max(sizes, key=lambda size: size[0] * size[1])
