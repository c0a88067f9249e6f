"""The bytes of a request -> the pixels of an image, as `rtseg predict` reads them from a file.

Nothing is opened: no path, no address, no file beside. A header that promises too much is refused before decoding.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rtseg.data.files import decode_image
from rtseg.data.header import image_size, is_tiff, jpeg_scans
from rtseg.data.kinds import HEAD, FilmError, refuse_other_kind
from rtseg.errors import UserError
from rtseg.serve.limits import Refused

KINDS = "PNG, JPEG, BMP, WebP or TIFF"
_NAME = Path("the body")
_PNG = b"\x89PNG\r\n\x1a\n"
_BRIEF = 2**16  # bytes of a PNG's pixels, compressed, that are inflated in half a second whatever they are
_AT_ONCE = 2**20
_MOST_SCANS = 100  # of a progressive JPEG; encoders write a dozen, and 50,000 in a megabyte would take minutes


def decode(data: bytes, most: int) -> np.ndarray:
    """The bytes of an image file -> (H, W, 3) uint8 RGB, upright by its EXIF tag.

    Args:
        most: pixels that are taken.

    Raises:
        Refused: no image (415), one that is damaged (422), or one that is too large (413).
    """
    if not data:
        raise Refused(400, f"the request has no body: send the bytes of an image file ({KINDS}) as the body")
    if not _is_usual(data):
        raise Refused(415, _other_kind(data))
    size = image_size(data)
    if size is not None and size[0] * size[1] > most:
        raise Refused(413, f"the image has {size[0]}x{size[1]} pixels (width x height), and this server takes at most "
                      f"{most:,}: send a smaller image")  # fmt: skip
    if data.startswith(b"\xff\xd8") and jpeg_scans(data) > _MOST_SCANS:
        raise Refused(422, f"the image is a JPEG of more than {_MOST_SCANS} scans: save it anew")
    if size is not None and data.startswith(_PNG) and _goes_on(data, 9 * size[0] * size[1]):
        raise Refused(422, "the image is a PNG of more pixels than its header says: save it anew")
    try:
        return decode_image(_NAME, data, most)
    except UserError as error:
        raise Refused(422, str(error)) from None


def _is_usual(data: bytes) -> bool:
    """Whether the bytes begin as those of `KINDS` do; OpenCV has further decoders, which nobody needs here."""
    return data.startswith((_PNG, b"\xff\xd8", b"BM")) or _is_webp(data) or is_tiff(data)


def _goes_on(data: bytes, most: int) -> bool:
    """Whether the pixels of a PNG inflate to more bytes than `most`: libpng reads them all, a thousand for each of the
    file's.
    """
    parts = list(_pixel_parts(data))
    if sum(map(len, parts)) <= _BRIEF:
        return False
    inflated, many = zlib.decompressobj(), 0
    try:
        for part in parts:
            left: bytes | memoryview = part
            while left and many <= most + _AT_ONCE:
                many += len(inflated.decompress(left, _AT_ONCE))
                left = inflated.unconsumed_tail
    except zlib.error:  # damaged, which is for the decoder to say
        return False
    return many > most + _AT_ONCE


def _pixel_parts(data: bytes) -> Iterator[memoryview]:
    """What a PNG's chunks of pixels hold. The chunks end within the file, as `image_size` has seen."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield memoryview(data)[at + 8 : at + 8 + length]
        at += 12 + length


def _is_webp(data: bytes) -> bool:
    return data.startswith(b"RIFF") and data[8:12] == b"WEBP"


def _other_kind(data: bytes) -> str:
    try:
        refuse_other_kind(_NAME, data[:HEAD])
    except FilmError as error:
        return str(error)
    except UserError as error:
        return f"{str(error).partition('; ')[0]}; send {KINDS}"
    return f"the body is no image that this server reads: send {KINDS}"
