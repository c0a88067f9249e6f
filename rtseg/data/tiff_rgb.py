"""TIFF as RGB of 8 bits, where OpenCV would read another image than the file holds.

OpenCV reads strips rightly. It fills tiles of two channels or of 16 bit grey with wrong values, turns tiles otherwise
than strips, mixes two channels that stand one after the other, refuses small tiles, takes the first of three channels
that are not called colours, and gives a black image where its libtiff lacks the compression. These are read here, or
refused. `tests/data/test_tiff_rgb.py` compares them with the pixels that tifffile has written.
"""

from collections.abc import Callable
from io import BytesIO

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from rtseg.data.tiff import (
    BITS,
    CODECS,
    COMPRESSION,
    ORIENTATION,
    PHOTOMETRIC,
    PLANAR,
    SAMPLES,
    TILE_OFFSETS,
    Tags,
    TiffError,
    TiffHeader,
    colors_called,
    first_page,
    kept_from_alpha,
    read_header,
    read_pixels,
    unturned,
    upright,
)

_WHITE_IS_ZERO, _GREY, _COLOR, _PALETTE, _CMYK, _YCC = 0, 1, 2, 3, 5, 6
_CHANNELS = {
    _WHITE_IS_ZERO: (1, 2), _GREY: (1, 2), _COLOR: (3, 4), _PALETTE: (1, 2), _CMYK: (4,), _YCC: (3,),
}  # fmt: skip
_DEPTHS = {_WHITE_IS_ZERO: (1, 8, 16), _GREY: (1, 8, 16), _COLOR: (8, 16)}  # bits; of the others 8
_OPENCV = (1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946)  # compressions: none, faxes, LZW, JPEG, deflate, PackBits
_APART = ((_COLOR, 3), (_CMYK, 4))  # of channels one after the other, what Pillow reads rightly
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # of Pillow, and what they mean is plain
_SAVE = "save it as RGB in strips, or as PNG"


def other_reader(data: bytes) -> Callable[[bytes], np.ndarray] | None:
    """What reads a TIFF as (H, W, 3) uint8 RGB, upright and without alpha; None where OpenCV does so rightly.

    Raises:
        TiffError: nothing here reads this layout.
    """
    tags = first_page(data)
    if PHOTOMETRIC not in tags:  # damaged, which is for a decoder to say
        return None
    colors, samples, compression = (tags.get(tag, (1,))[0] for tag in (PHOTOMETRIC, SAMPLES, COMPRESSION))
    _check_layout(tags, colors, samples)
    bits, apart, tiled = tags.get(BITS, (1,))[0], samples > 1 and tags.get(PLANAR, (1,))[0] == 2, TILE_OFFSETS in tags
    if compression in _OPENCV and not tiled and not (apart and samples == 2):
        return None
    if compression in CODECS and bits > 1 and colors in (_WHITE_IS_ZERO, _GREY, _COLOR):
        return _stored
    if compression in _OPENCV and samples != 2:
        return _tiles
    if compression not in (*_OPENCV, *CODECS):
        names = "none, LZW, deflate, PackBits, JPEG, LZMA or Zstandard"
        raise TiffError(f"a TIFF with compression {compression} is not read; save it with {names}")
    return _by_pillow


def _check_layout(tags: Tags, colors: int, samples: int) -> None:
    if colors not in _CHANNELS:
        raise TiffError(f"a TIFF of {colors_called(colors)} is no RGB image; save it as RGB of 8 bits")
    if samples not in _CHANNELS[colors]:
        raise TiffError(
            f"a TIFF of {samples} channels that are not called RGB: set data.channels={samples}, which reads any "
            "channels (docs/channels.md), or save it as RGB of 8 bits"
        )
    bits = set(tags.get(BITS, (1,)))
    if len(bits) > 1 or not bits <= set(_DEPTHS.get(colors, (8,))) or (bits == {1} and samples > 1):
        found = " and ".join(map(str, sorted(bits)))
        raise TiffError(f"a TIFF of {found} bit values in {colors_called(colors)} is not read; save it with 8 bits")


def _stored(data: bytes) -> np.ndarray:
    header = read_header(data)
    pixels = read_pixels(data, header)
    return _as_rgb(pixels[..., : 3 if header.channels > 2 else 1], header)


def _as_rgb(pixels: np.ndarray, header: TiffHeader) -> np.ndarray:
    """What OpenCV makes of strips: of 16 bits it rounds colours and cuts grey off."""
    if header.white_is_zero:
        pixels = np.iinfo(pixels.dtype).max - pixels
    if pixels.dtype != np.uint8:
        grey = pixels.shape[2] == 1
        pixels = (pixels >> 8 if grey else (pixels.astype(np.uint32) * 255 + 32895) >> 16).astype(np.uint8)
    pixels = upright(pixels, header.orientation)
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _tiles(data: bytes) -> np.ndarray:
    """Palettes, CMYK, YCbCr, JPEG and faxes: OpenCV reads them where it need not turn them, and they are not small."""
    pixels = cv2.imdecode(np.frombuffer(unturned(kept_from_alpha(data)), np.uint8), cv2.IMREAD_COLOR_RGB)
    return _by_pillow(data) if pixels is None else _turned(pixels, data)


def _by_pillow(data: bytes) -> np.ndarray:
    """The same without OpenCV. Some releases of Pillow turn a TIFF and others do not: here none does.

    Raises:
        TiffError: Pillow does not read this layout, or reads it wrongly.
    """
    tags = first_page(data)
    colors, samples, plane = (tags.get(tag, (1,))[0] for tag in (PHOTOMETRIC, SAMPLES, PLANAR))
    if samples > 1 and plane == 2 and (colors, samples) not in _APART:
        raise TiffError(f"a TIFF of {colors_called(colors)}, channels one after the other, is not read; {_SAVE}")
    try:
        with Image.open(BytesIO(unturned(data)), formats=("TIFF",)) as file:
            if file.mode not in _MODES:
                raise TiffError(f"a TIFF of Pillow's mode {file.mode} is not read; {_SAVE}")
            pixels = np.asarray(file.convert("RGB"))
    except UnidentifiedImageError:
        raise TiffError(f"a TIFF that is damaged, or of a layout that is not read; {_SAVE}") from None
    return _turned(pixels, data)


def _turned(pixels: np.ndarray, data: bytes) -> np.ndarray:
    return np.ascontiguousarray(upright(pixels, first_page(data).get(ORIENTATION, (1,))[0]))
