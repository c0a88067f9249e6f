"""TIFF of any number of channels, as stored: strips or tiles, channels together or one after the other.

OpenCV stops at four channels, and in 8 bits it takes the fourth for the transparency of the others. What stands in the
file is read here; Pillow's libtiff undoes the compression of one strip or tile at a time.
"""

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import product

import numpy as np
from PIL import Image

_KINDS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # type of an entry -> struct's letter; the others are not needed
_DAMAGED = (struct.error, OverflowError)  # what struct says of places behind the file, and beyond 63 bits
_MOST_ENTRIES, _MOST_PAGES = 4096, 100_000
_SUBFILE, _WIDTH, _HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, _FILL = 254, 256, 257, 258, 259, 262, 266
_OFFSETS, ORIENTATION, SAMPLES, _ROWS, _LENGTHS, PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, TILE_OFFSETS, _TILE_LENGTHS, _FORMAT = 317, 322, 323, 324, 325, 339
_READ = frozenset({
    _SUBFILE, _WIDTH, _HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, _FILL, _OFFSETS, ORIENTATION, SAMPLES, _ROWS,
    _LENGTHS, PLANAR, _PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, TILE_OFFSETS, _TILE_LENGTHS, _FORMAT,
})  # fmt: skip
_PLAIN, _DEFLATE = 1, (8, 32946)
_NAMED = {5: "LZW", 32773: "PackBits", 34925: "LZMA", 50000: "Zstandard"}
CODECS = (_PLAIN, *_DEFLATE, *_NAMED)  # the compressions that are read here
_EXTRA, _ASSOCIATED, _UNASSOCIATED = 338, 1, 2  # what the channels behind the colours are
_REDUCED = 1  # of the kind of a page: a smaller copy of another one
_COLORS = {
    0: "grey", 1: "grey", 2: "RGB", 3: "a palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab", 9: "CIELab", 10: "CIELab",
    32803: "a camera's mosaic",
}  # fmt: skip
_UNSIGNED, _FLOAT, _UNDEFINED = 1, 3, 4
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a.swapaxes(0, 1), 2),
    8: np.rot90,
}
Tags = Mapping[int, tuple[int, ...]]


class TiffError(ValueError):
    """A TIFF that is whole, but cannot be taken as it is. The text says why, and what to do."""


@dataclass(frozen=True)
class TiffHeader:
    """What the first page of a TIFF says of itself.

    Attributes:
        height, width, channels: of its pixels as stored.
        dtype: of a value, in the byte order of the file.
        tags: the numbers of the page that are read here, by tag.
        pages: pages of full size.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype
    tags: Tags
    pages: int

    @property
    def white_is_zero(self) -> bool:
        return self.tags.get(PHOTOMETRIC, (1,))[0] == 0

    @property
    def orientation(self) -> int:
        """EXIF's number of how the image is turned; 1: not."""
        return self.tags.get(ORIENTATION, (1,))[0]


def first_page(data: bytes) -> dict[int, tuple[int, ...]]:
    """All whole numbers of the first page, by tag; empty where the file ends inside its header."""
    try:
        return dict(next(_pages(data), {}))
    except _DAMAGED:
        return {}


def count_pages(data: bytes) -> int:
    """Pages of full size; 1 where the file is damaged, which is for a decoder to say."""
    try:
        pages = list(_pages(data))
    except (*_DAMAGED, ValueError):
        return 1
    return 1 + sum(not page.get(_SUBFILE, (0,))[0] for page in pages[1:])


def kept_from_alpha(data: bytes) -> bytes:
    """The same TIFF, from which libtiff takes the colours as they are stored.

    It multiplies colours by an alpha that the file calls unassociated, and leaves them where it is called associated:
    so the file is made to say this, in the first of its extra samples.
    """
    return _changed(data, _EXTRA, {_UNASSOCIATED: _ASSOCIATED})


def unturned(data: bytes) -> bytes:
    """The same TIFF, of which readers do not turn the pixels: the first row is at the top."""
    return _changed(data, ORIENTATION, dict.fromkeys(range(2, 9), 1))


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """(H, W, C), turned as EXIF's number of the orientation says; a view."""
    return _TURNS.get(orientation, lambda a: a)(pixels)


def _changed(data: bytes, tag: int, new: Mapping[int, int]) -> bytes:
    """The same TIFF with another value for one of 16 bits, the first of its tag on the first page."""
    order, big = "<" if data[:1] == b"I" else ">", 0x2B in data[2:4]
    try:
        (page,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (number,) = struct.unpack_from(order + ("Q" if big else "H"), data, page)
        start, entry = page + (8 if big else 2), 20 if big else 12
        for at in range(start, start + min(number, _MOST_ENTRIES) * entry, entry):
            if struct.unpack_from(order + "HH", data, at) == (tag, 3):
                where, count = _numbers_at(data, order, big, at, 2)
                if count and (value := new.get(struct.unpack_from(order + "H", data, where)[0])):
                    return data[:where] + struct.pack(order + "H", value) + data[where + 2 :]
    except _DAMAGED:  # damaged, which is for a decoder to say
        pass
    return data


def colors_called(number: int) -> str:
    """What the values of a TIFF mean, in words, by the number that its header has for it."""
    return _COLORS.get(number, f"photometric {number}")


def read_header(data: bytes) -> TiffHeader:
    """The header of a TIFF.

    Raises:
        TiffError: its pixels are not plain channels of 8 or 16 bit or floats.
        struct.error, KeyError: it ends inside its header, or lacks what every TIFF has.
    """
    tags = next(_pages(data))
    colors = tags.get(PHOTOMETRIC, (1,))[0]
    if colors not in (0, 1, 2):
        raise TiffError(f"a TIFF of {colors_called(colors)}; save its channels as they are")
    order = "<" if data[:1] == b"I" else ">"
    return TiffHeader(
        height=tags[_HEIGHT][0],
        width=tags[_WIDTH][0],
        channels=tags.get(SAMPLES, (1,))[0],
        dtype=_dtype(tags, order),
        tags=tags,
        pages=count_pages(data),
    )


def read_pixels(data: bytes, header: TiffHeader) -> np.ndarray:
    """(H, W, C) as stored.

    Raises:
        TiffError: a way of storing that is not read.
        Exception: of any kind, where the file is damaged.
    """
    tags, tiled = header.tags, TILE_OFFSETS in header.tags
    _check_ways(tags)
    planes = header.channels if tags.get(PLANAR, (1,))[0] == 2 else 1
    inside = header.channels // planes  # channels of a strip or tile
    if tiled:
        rows, columns = tags[_TILE_HEIGHT][0], tags[_TILE_WIDTH][0]
        offsets, lengths = tags[TILE_OFFSETS], tags[_TILE_LENGTHS]
    else:
        rows, columns = min(tags.get(_ROWS, (header.height,))[0], header.height), header.width
        offsets, lengths = tags[_OFFSETS], tags[_LENGTHS]
    tops, lefts = range(0, header.height, rows), range(0, header.width, columns)
    if (number := planes * len(tops) * len(lefts)) > min(len(offsets), len(lengths)):
        raise ValueError(f"{len(offsets)} strips or tiles of {number}")
    places = product(range(planes), tops, lefts)
    pixels = np.empty((header.height, header.width, header.channels), header.dtype)
    for (plane, y, x), offset, length in zip(places, offsets, lengths, strict=False):
        height = rows if tiled else min(rows, header.height - y)
        part = data[offset : offset + length]
        block = _block(part, (height, columns, inside), header)
        block = block[: header.height - y, : header.width - x]
        first = plane * inside
        pixels[y : y + len(block), x : x + block.shape[1], first : first + inside] = block
    return pixels


def _pages(data: bytes) -> Iterator[Tags]:
    order, big = "<" if data[:1] == b"I" else ">", 0x2B in data[2:4]
    at, seen = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0], set[int]()
    while at and at not in seen and len(seen) < _MOST_PAGES:
        seen.add(at)
        (number,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
        start, entry = at + (8 if big else 2), 20 if big else 12
        end = start + number * entry
        yield dict(_entries(data, order, big, range(start, min(end, start + _MOST_ENTRIES * entry), entry)))
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), data, end)


def _entries(data: bytes, order: str, big: bool, places: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The numbers of each entry of a page that is read here; others may be as long as the file."""
    for at in places:
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag not in _READ or not (letter := _KINDS.get(kind)):
            continue
        where, count = _numbers_at(data, order, big, at, struct.calcsize("=" + letter))
        if count:
            yield tag, struct.unpack_from(f"{order}{count}{letter}", data, where)


def _numbers_at(data: bytes, order: str, big: bool, at: int, size: int) -> tuple[int, int]:
    """Where the numbers of an entry begin, each of `size` bytes, and how many they are."""
    (count,) = struct.unpack_from(order + ("Q" if big else "I"), data, at + 4)
    where = at + (12 if big else 8)
    if count * size > (8 if big else 4):
        (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
    if where + count * size > len(data):
        raise struct.error(f"an entry of {count} numbers ends behind the file")
    return where, count


def _dtype(tags: Tags, order: str) -> np.dtype:
    bits, kinds = set(tags.get(BITS, (1,))), set(tags.get(_FORMAT, (_UNSIGNED,)))
    if len(bits) == len(kinds) == 1:
        (size,), (kind,) = bits, kinds
        if kind in (_UNSIGNED, _UNDEFINED) and size in (8, 16):
            return np.dtype(f"{order}u{size // 8}")
        if kind == _FLOAT and size in (16, 32, 64):
            return np.dtype(f"{order}f{size // 8}")
    found = {_UNSIGNED: "unsigned", 2: "signed", _FLOAT: "floating", _UNDEFINED: "unsigned"}
    what = " and ".join(sorted({found.get(kind, "complex") for kind in kinds}))
    sizes = " and ".join(map(str, sorted(bits))) if len(bits) <= 4 else f"{len(bits)} numbers of"
    raise TiffError(
        f"a TIFF of {what} values of {sizes} bits; save its channels as 8 or 16 bit without sign, or as 32 bit floats"
    )


def _check_ways(tags: Tags) -> None:
    compression = tags.get(COMPRESSION, (_PLAIN,))[0]
    if compression not in CODECS:
        names = f"none, deflate, {', '.join(_NAMED.values())}"
        raise TiffError(f"a TIFF with compression {compression}; save it with one of {names}")
    if tags.get(_FILL, (1,))[0] != 1 or tags.get(_PREDICTOR, (1,))[0] not in (1, 2, 3):
        raise TiffError("a TIFF with bits from right to left, or an unknown predictor; save it without")


def _block(part: bytes, shape: tuple[int, int, int], header: TiffHeader) -> np.ndarray:
    """One strip or tile: rows, columns and channels of `shape`."""
    rows, columns, channels = shape
    width = columns * channels * header.dtype.itemsize
    raw = _decompressed(part, header.tags.get(COMPRESSION, (_PLAIN,))[0], rows, width)
    predictor = header.tags.get(_PREDICTOR, (1,))[0]
    if predictor == 3 and header.dtype.kind == "f":
        return _floats(raw, shape, header.dtype)
    block = raw.view(header.dtype).reshape(shape)
    if predictor == 2:
        bits = block.astype(f"u{header.dtype.itemsize}") if block.dtype.kind == "u" else block.view(
            header.dtype.str.replace("f", "u")).astype(f"u{header.dtype.itemsize}")  # fmt: skip
        summed = np.cumsum(bits, axis=1, dtype=bits.dtype)
        return summed if block.dtype.kind == "u" else summed.view(f"f{header.dtype.itemsize}")
    return block


def _floats(raw: np.ndarray, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Predictor 3: differences of the bytes of a row, in which the first bytes of all floats come first."""
    rows, columns, channels = shape
    size = dtype.itemsize
    summed = np.cumsum(raw.reshape(rows, -1, channels), axis=1, dtype=np.uint8)
    parts = summed.reshape(rows, size, columns * channels)
    return np.ascontiguousarray(parts.transpose(0, 2, 1)).view(f">f{size}").reshape(shape)


def _decompressed(part: bytes, compression: int, rows: int, width: int) -> np.ndarray:
    """`rows` x `width` bytes. Raises: ValueError where there are fewer."""
    wanted = rows * width
    if compression == _PLAIN:
        content = part
    elif compression in _DEFLATE:
        content = zlib.decompressobj().decompress(part, wanted)
    else:
        with Image.open(BytesIO(_as_grey(part, compression, rows, width)), formats=("TIFF",)) as file:
            content = file.tobytes()
    if len(content) < wanted:
        raise ValueError(f"{len(content)} bytes of {wanted} in a strip or tile")
    return np.frombuffer(content, np.uint8, wanted)


def _as_grey(part: bytes, compression: int, rows: int, width: int) -> bytes:
    """A TIFF of `rows` x `width` grey bytes, which libtiff decompresses without looking at what they mean."""
    tags = {_WIDTH: width, _HEIGHT: rows, BITS: 8, COMPRESSION: compression, PHOTOMETRIC: 1, _OFFSETS: 0,
            SAMPLES: 1, _ROWS: rows, _LENGTHS: len(part)}  # fmt: skip
    tags[_OFFSETS] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0) + part
