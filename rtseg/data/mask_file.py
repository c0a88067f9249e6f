"""Class numbers as a label file stores them: the same from every container, or a refusal.

Decoders make images: they put a palette's colours in the place of its numbers, spread 1 bit over 0..255, and accept
JPEG under any name. A label file needs the numbers that were written.
"""

import struct
from io import BytesIO

import cv2
import numpy as np
from PIL import Image

from rtseg.data.header import is_tiff
from rtseg.data.tiff import TiffError, first_page, read_header, read_pixels

_COMPRESSION, _PHOTOMETRIC, _BITS = 259, 262, 258
_WHITE_IS_ZERO, _PALETTE = 0, 3
# None, CCITT (three kinds), LZW, deflate (two), PackBits, LZMA, Zstandard.
_LOSSLESS_TIFF = (1, 2, 3, 4, 5, 8, 32946, 32773, 34925, 50000)


class MaskError(ValueError):
    """A file that decoders read, but whose class numbers are not certain. The text says why."""


def stored_numbers(data: bytes) -> np.ndarray:
    """The content of a label file: HW of class numbers, or HWC RGB / RGBA.

    Args:
        data: of a PNG, BMP, TIFF, GIF or lossless WebP.

    Raises:
        MaskError: a lossy or another container, or a way of storing whose numbers are not certain.
        Exception: of any kind, from a decoder that meets damage.
    """
    if data.startswith(b"\x89PNG"):
        return _png(data)
    if data.startswith(b"BM"):
        return _bmp(data)
    if is_tiff(data):
        return _tiff(data)
    if data.startswith(b"GIF8"):
        return _pillow(data)
    if data.startswith(b"RIFF") and b"ANMF" in (chunks := _webp_chunks(data)):
        raise MaskError("a WebP of several frames")
    if data.startswith(b"RIFF") and b"VP8 " not in chunks:
        return _opencv(data)
    kind = "JPEG" if data.startswith(b"\xff\xd8") else "lossy WebP" if data.startswith(b"RIFF") else None
    raise MaskError(f"{kind}, which changes class numbers" if kind else "no PNG, BMP, TIFF, GIF or lossless WebP")


def _opencv(data: bytes) -> np.ndarray:
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None:
        raise ValueError(f"{len(data)} bytes")
    if raw.dtype not in (np.uint8, np.uint16):
        raise MaskError(f"{raw.dtype} pixels")
    if raw.ndim == 3:
        return cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return raw


def _pillow(data: bytes) -> np.ndarray:
    """A palette's indices, and 1 bit as 0 and 1."""
    with Image.open(BytesIO(data)) as file:
        if (frames := getattr(file, "n_frames", 1)) > 1:
            raise MaskError(f"{frames} frames or pages")
        if file.mode not in ("1", "L", "P"):
            raise MaskError(f"pixels of mode {file.mode}")
        return np.asarray(file).astype(np.uint8)


def _png(data: bytes) -> np.ndarray:
    depth, colors = data[24], data[25]
    if colors == _PALETTE:
        return _pillow(data)
    raw = _opencv(data)
    # OpenCV spreads 1, 2 and 4 bits over 0..255.
    return raw // (255 // (2**depth - 1)) if depth < 8 else raw


def _bmp(data: bytes) -> np.ndarray:
    """The palette's indices of a BMP of up to 8 bits; neither OpenCV nor Pillow returns them for every palette."""
    (header,) = struct.unpack_from("<I", data, 14)
    old = header == 12
    width, height = struct.unpack_from("<HH" if old else "<ii", data, 18)
    bits, compression = struct.unpack_from("<H", data, 24 if old else 28)[0], 0
    if not old:
        (compression,) = struct.unpack_from("<I", data, 30)
    if bits > 8 and compression in (0, 3, 6):
        return _opencv(data)
    if compression or bits not in (1, 4, 8):
        raise MaskError(f"a BMP of {bits} bits with compression {compression}")
    (start,) = struct.unpack_from("<I", data, 10)
    stride = (width * bits + 31) // 32 * 4
    rows = np.frombuffer(data, np.uint8, stride * abs(height), start).reshape(abs(height), stride)
    if bits == 4:
        rows = np.stack([rows >> 4, rows & 15], -1).reshape(abs(height), -1)
    elif bits == 1:
        rows = np.unpackbits(rows, axis=1)
    return np.ascontiguousarray((rows[::-1] if height > 0 else rows)[:, :width])


def _tiff(data: bytes) -> np.ndarray:
    tags = first_page(data)
    compression, colors, bits = (max(tags.get(tag, (1,))) for tag in (_COMPRESSION, _PHOTOMETRIC, _BITS))
    if compression not in _LOSSLESS_TIFF:
        raise MaskError(f"a TIFF with compression {compression}, which may change class numbers")
    if colors == _WHITE_IS_ZERO and bits != 1:
        raise MaskError("a TIFF in which 0 is white, so that its numbers may be turned round")
    if colors == _PALETTE or bits == 1:
        return _pillow(data)
    if bits < 8:
        return _pillow(data) // (255 // (2**bits - 1))  # Pillow spreads 2 and 4 bits over 0..255
    try:
        # OpenCV would multiply colours by their alpha.
        header = read_header(data)
        if header.dtype.kind != "u":
            raise MaskError(f"{header.dtype.name} pixels")
        if header.pages > 1 or header.channels > 4:
            raise MaskError(f"a TIFF of {header.pages} pages and {header.channels} channels")
        pixels = read_pixels(data, header)
    except TiffError as error:
        raise MaskError(str(error).partition(";")[0]) from None
    numbers = pixels.astype(pixels.dtype.newbyteorder("="))
    if header.channels <= 2:  # the second is alpha
        return np.ascontiguousarray(numbers[..., 0])
    return numbers


def _webp_chunks(data: bytes) -> list[bytes]:
    found, at = [], 12
    while at + 8 <= len(data):
        found.append(data[at : at + 4])
        at += 8 + (int.from_bytes(data[at + 4 : at + 8], "little") + 1) // 2 * 2
    return found
