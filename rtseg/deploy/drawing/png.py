"""PNGs of class numbers, grey and with a palette, from one compression.

In both a pixel is a number, so their compressed rows are the same bytes; the header and the palette differ.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from rtseg.deploy.drawing.row_bands import bands

# Class maps repeat the row above, so each row is written as its difference from that one, and runs of zeros are all
# that is looked for: on CamVid's maps smaller than zlib's level 6, in 40 % of the time (CHANGELOG: 480x360).
_UP = 2
_GREY, _PALETTE = 0, 3


def compress_rows(numbers: np.ndarray) -> bytes:
    """The compressed rows of a PNG.

    Args:
        numbers: (H, W) uint8 or uint16, H and W at least 1.
    """
    rows = np.ascontiguousarray(numbers, numbers.dtype.newbyteorder(">")).view(np.uint8)
    compressor = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    return b"".join([*(compressor.compress(band.data) for band in _filtered(rows)), compressor.flush()])


def _filtered(rows: np.ndarray) -> Iterator[np.ndarray]:
    for band in bands(*rows.shape):
        filtered = np.empty((band.stop - band.start, rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = rows[band.start] - rows[band.start - 1] if band.start else rows[0]
        np.subtract(rows[band][1:], rows[band][:-1], out=filtered[1:, 1:])
        yield filtered


def grey_png(numbers: np.ndarray, rows: bytes) -> bytes:
    """A PNG of 8 or 16 bit grey levels.

    Args:
        numbers: as given to `compress_rows`.
        rows: what it returned.
    """
    return _png(numbers, _GREY, b"", rows)


def palette_png(numbers: np.ndarray, rows: bytes, colors: Sequence[tuple[int, int, int]] | np.ndarray) -> bytes:
    """A PNG of 8 bit numbers, each with a colour.

    Args:
        numbers, rows: as for `grey_png`; uint8.
        colors: RGB of number 0, 1, ...; at most 256, and one for each number that occurs.
    """
    return _png(numbers, _PALETTE, _chunk(b"PLTE", np.asarray(colors, np.uint8).tobytes()), rows)


def _png(numbers: np.ndarray, kind: int, palette: bytes, rows: bytes) -> bytes:
    height, width = numbers.shape
    header = struct.pack(">IIBBBBB", width, height, 8 * numbers.itemsize, kind, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), palette, _chunk(b"IDAT", rows), _chunk(b"IEND", b""))
    return b"".join((b"\x89PNG\r\n\x1a\n", *chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(name)))
