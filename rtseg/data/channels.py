"""Images of any number of channels, at the full depth of their files, as grey levels 0..255.

The road of `data.channels`. Without it an image is RGB of 8 bits, as `rtseg.data.files.read_image` gives it.
"""

import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.data.files import MAX_PIXELS, decoded, read_whole
from rtseg.data.header import NPY, is_tiff
from rtseg.data.image_space import check_channels
from rtseg.data.tiff import TiffError, read_header, read_pixels, upright
from rtseg.errors import UserError

MAX_VALUES = 3 * MAX_PIXELS  # as many as the largest RGB image has
_SAVE = "save it as PNG, TIFF or .npy of 8 or 16 bit without sign, or of 32 bit floats"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6  # of a PNG
_EXIF_ORIENTATION = 0x0112


class _ChannelsError(ValueError):
    """A file that decoders read, but that is not an image of plain channels. The text says why, and what to do."""


class ChannelNumberError(UserError):
    """An image has another number of channels than was asked for; `what` says which, without a repair."""

    def __init__(self, path: Path, found: int, channels: int) -> None:
        kind = {1: " (grey)", 2: " (grey and alpha)", 3: " (RGB)", 4: " (RGB and alpha or another)"}.get(found, "")
        self.what = f"{path}: the image has {found} channel{'s' * (found != 1)}{kind}"
        super().__init__(f"{self.what}, not {channels}: set data.channels={found}, or save the image with {channels}")


def read_channels(path: Path, channels: int, max_pixels: int = MAX_PIXELS,
                  admit: Callable[[int], object] = lambda pixels: None) -> np.ndarray:  # fmt: skip
    """An image file -> (H, W, channels) grey levels 0..255, uint8 or float32, turned upright by its EXIF tag.

    8 bits stay uint8. 16 bits are divided by 257. Floats are multiplied by 255, whatever their range: 0..1 becomes
    0..255, and the mean and standard deviation of other floats, in units of 1, are those of the numbers in the file.
    Grey is 1 channel, with alpha 2; RGB is 3, with alpha 4; a palette's colours are RGB; TIFF and `.npy` (H, W or H, W,
    C) have as many as they say. No channel is left out or added.

    Args:
        channels: that the file must have.
        max_pixels: more are refused before anything is decoded.
        admit: is given the number of pixels before they are decoded, and may wait until there is room for them.

    Raises:
        UserError: the file cannot be read whole, has another number of channels, values of another kind or that are
            not finite, or several pages.
    """
    check_channels("channels", channels)
    most = 8 * MAX_VALUES + 2**26  # bytes of floats of 64 bits, and what stands beside the pixels
    data, pixels = read_whole(path, max_pixels, "image", most)
    if pixels * channels > MAX_VALUES:
        raise UserError(
            f"{path}: {pixels:,} pixels of {channels} channels are more than the limit of {MAX_VALUES:,} values; make "
            "the image smaller, or cut it"
        )
    admit(pixels)
    stored = decoded(path, data[:4096], len(data), "image", lambda: _decode(data, path, channels))
    return grey_levels(stored, str(path))


def _decode(data: bytes, path: Path, channels: int) -> np.ndarray:
    """(H, W, C) upright, of the file's own type. Raises: UserError, or what a decoder raises."""
    try:
        return _stored(data, path, channels)
    except (_ChannelsError, TiffError) as error:
        raise UserError(f"{path}: {error}") from None
    except (struct.error, KeyError) as error:  # of a TIFF's header, which have no words of their own
        raise ValueError(f"its header is damaged: {error}") from None


def _stored(data: bytes, path: Path, channels: int) -> np.ndarray:
    if data.startswith(NPY):
        return _npy(data, path, channels)
    if is_tiff(data):
        return _tiff(data, path, channels)
    if data.startswith(b"\x89PNG"):
        found = _png(data)
    elif data.startswith(b"\xff\xd8"):
        found = _raw(data, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)  # which turns it
        if Image.open(BytesIO(data)).mode == "CMYK":
            raise _ChannelsError("a JPEG of CMYK; save it as RGB")
    elif data.startswith((b"BM", b"RIFF")):
        found = _raw(data, cv2.IMREAD_UNCHANGED)
    else:
        raise _ChannelsError(f"no PNG, TIFF, .npy, JPEG, BMP or WebP; {_SAVE}")
    _check_number(path, found.shape[2], channels)
    if data.startswith(b"\xff\xd8"):
        return found
    return upright(found, _orientation(data))


def _check_number(path: Path, found: int, channels: int) -> None:
    if found != channels:
        raise ChannelNumberError(path, found, channels)


def _raw(data: bytes, flags: int) -> np.ndarray:
    """(H, W, C), with colours in the order RGB or RGBA."""
    raw = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if raw is None:
        raise ValueError("damaged")
    if raw.ndim == 2:
        return raw[..., None]
    return cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _png(data: bytes) -> np.ndarray:
    """OpenCV gives a palette, and grey with alpha, four channels; the header knows how many there are."""
    raw, colors = _raw(data, cv2.IMREAD_UNCHANGED), data[25]
    if colors == _GREY_ALPHA:
        return raw[..., [0, -1]]
    keeps_alpha = colors == _RGB_ALPHA or (colors == _PALETTE and b"tRNS" in data[: data.find(b"IDAT")])
    return raw if keeps_alpha else raw[..., : 1 if colors == _GREY else 3]


def _orientation(data: bytes) -> int:
    if not (b"eXIf" in data or b"EXIF" in data):
        return 1
    try:
        with Image.open(BytesIO(data)) as file:
            return int(file.getexif().get(_EXIF_ORIENTATION, 1))
    except Exception:  # Pillow meets damaged data with exceptions of any kind
        return 1


def _tiff(data: bytes, path: Path, channels: int) -> np.ndarray:
    header = read_header(data)
    if header.pages > 1:
        raise _ChannelsError(f"a TIFF of {header.pages} pages; save each page as a file of its own")
    _check_number(path, header.channels, channels)
    pixels = read_pixels(data, header)
    if header.white_is_zero:
        if pixels.dtype.kind == "f":
            raise _ChannelsError("a TIFF of floats in which 0 is white; save it with 0 as black")
        pixels = np.iinfo(pixels.dtype).max - pixels
    return upright(pixels, header.orientation)


def _npy(data: bytes, path: Path, channels: int) -> np.ndarray:
    file = BytesIO(data)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if len(shape) not in (2, 3):
        raise _ChannelsError(f"an array of the shape {shape}; save it as (height, width, channels)")
    if dtype.kind not in "uf" or dtype.itemsize > 8 or (dtype.kind == "u" and dtype.itemsize > 2):
        raise _ChannelsError(f"an array of {dtype}; {_SAVE}")
    found = shape[2] if len(shape) == 3 else 1
    if found != channels and len(shape) == 3 and shape[0] == channels:
        raise _ChannelsError(
            f"an array of the shape {shape}, whose channels seem to come first; save it as (height, width, channels): "
            "array.transpose(1, 2, 0)"
        )
    _check_number(path, found, channels)
    values = np.frombuffer(data, dtype, int(np.prod(shape)), file.tell())
    return values.reshape((*shape, 1)[:3], order="F" if fortran else "C")


def grey_levels(stored: np.ndarray, name: str) -> np.ndarray:
    """Values of uint8, uint16 or floats as grey levels, see `read_channels`.

    Args:
        name: what they are, for the error.

    Raises:
        UserError: some are not finite.
    """
    if stored.dtype == np.uint8:
        return np.ascontiguousarray(stored)
    if stored.dtype.kind == "u":
        return np.ascontiguousarray(stored, np.float32) / np.float32(257)
    with np.errstate(over="ignore"):
        levels = np.ascontiguousarray(stored, np.float32) * np.float32(255)
    if bad := int(levels.size - np.isfinite(levels).sum()):
        raise UserError(
            f"{name}: {bad:,} of {levels.size:,} values are not finite or too large for 32 bits; replace them by "
            "numbers, and label these pixels as ignore"
        )
    return levels
