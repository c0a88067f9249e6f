"""Looking at an image file: it is decoded whole, and what its faults are found by is kept."""

import hashlib
import re
import zlib
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.data.channels import read_channels
from rtseg.data.files import read_image
from rtseg.data.findings.decoder_words import DecoderWords
from rtseg.data.findings.looks import ImageLook
from rtseg.data.findings.pixel_format import pixel_format
from rtseg.errors import UserError

_GREY = cv2.COLOR_RGB2GRAY
_ORIENTATION = 0x0112  # of EXIF
_SIDE, _KEPT = 64, 16  # of the picture whose frequencies are taken, and of those that are kept
_DAMAGE = re.compile(r"Corrupt JPEG data: .*|Premature end of JPEG.*")


def look_at_image(path: Path, channels: int | None = None) -> ImageLook:
    """Decodes an image.

    Args:
        channels: as `data.channels` has it; None for RGB.
    """
    try:
        image = read_image(path) if channels is None else read_channels(path, channels)
        data = path.read_bytes()
    except UserError as error:
        return ImageLook(fault=str(error))
    except OSError as error:
        return ImageLook(fault=f"{path}: cannot be read ({error.strerror})")
    if fault := broken_chunk(data):
        return ImageLook(fault=f"{path}: {fault}; copy or download it again")
    form = pixel_format(data)
    look = look_at_pixels(image)
    return replace(
        look,
        turned=_orientation(data),
        form=form,
        transparent=_transparent(data) if "alpha" in form and channels is None else 0.0,
    )


def damage_of(path: Path, words: DecoderWords) -> str:
    """What the decoder says of a JPEG that it mends; empty for others. Nothing else may decode meanwhile."""
    before = words.length
    with suppress(UserError):
        read_image(path)
    found = _DAMAGE.search(words.since(before))
    return found[0] if found else ""


def look_at_pixels(image: np.ndarray) -> ImageLook:
    """What is seen of an image alone.

    Args:
        image: (H, W, C) levels 0..255, uint8 or float32.
    """
    levels = image.reshape(-1, image.shape[2])
    mean, square = (
        _moments(image)
        if image.dtype == np.uint8 and image.shape[2] in (1, 3, 4)
        else (
            levels.mean(0, dtype=np.float64) / 255,
            np.square(levels, dtype=np.float64).mean(0) / 255**2,
        )
    )
    grey = image[..., :3].mean(2) if image.shape[2] != 3 or image.dtype != np.uint8 else cv2.cvtColor(image, _GREY)
    grey = np.clip(grey, 0, 255).astype(np.uint8)
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    frequencies = cv2.dct(small.astype(np.float32))[:_KEPT, :_KEPT]
    return ImageLook(
        size=image.shape[:2],
        digest=digest(image),
        pattern=_pattern(frequencies),
        canonical=_pattern(_canonical(frequencies)),
        contrast=float(cv2.meanStdDev(grey)[1][0, 0]),
        mean=tuple(map(float, mean)),
        square=tuple(map(float, square)),
    )


def _moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each channel and of its square, of levels / 255."""
    mean, deviation = (part.ravel() / 255 for part in cv2.meanStdDev(image))
    return mean, mean**2 + deviation**2


def digest(pixels: np.ndarray) -> str:
    """A digest of the size and the pixels."""
    head = f"{pixels.shape}{pixels.dtype}".encode()
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16, key=head[:64]).hexdigest()


def _pattern(frequencies: np.ndarray) -> str:
    """Signs of the 16 x 16 lowest frequencies of a picture, but for its mean: 255 bits and a zero.

    A perceptual hash: an image that is saved again, resized, made lighter or darker keeps nearly all bits; the next
    frame of a film does not.
    """
    flat = frequencies.flatten()
    flat[0] = 0
    return np.packbits(flat > np.median(flat[1:])).tobytes().hex()


def _canonical(frequencies: np.ndarray) -> np.ndarray:
    """Those of the picture in that of its eight positions, turned by quarters and mirrored, which has the stronger of
    its two lowest frequencies across, and both above zero: equal for all positions.
    """
    found = frequencies.T.copy() if abs(frequencies[1, 0]) > abs(frequencies[0, 1]) else frequencies.copy()
    found[:, 1::2] *= np.sign(found[0, 1]) or 1
    found[1::2] *= np.sign(found[1, 0]) or 1
    return found


def _orientation(data: bytes) -> int:
    return orientation(BytesIO(data)) if b"Exif" in data[: 2**17] or b"eXIf" in data else 1


def orientation(file: Path | BytesIO) -> int:
    """The EXIF orientation of an image, 1 to 8; 1 where nothing is said."""
    try:
        with Image.open(file) as image:
            return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # as in `pixel_format`
        return 1


def _transparent(data: bytes) -> float:
    """Share of the pixels that are not opaque."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim < 3 or pixels.shape[2] != 4:
        return 0.0
    opaque = 65535 if pixels.dtype == np.uint16 else 255
    return float(np.mean(pixels[..., 3] < opaque))


def broken_chunk(data: bytes) -> str | None:
    """What is wrong with the checksums of a PNG: some decoders do not look at them, or go on."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return None
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if zlib.crc32(memoryview(data)[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return f"damaged in the middle (a PNG whose checksum of {kind.decode(errors='replace')} is wrong)"
        if kind == b"IEND":
            return None
        at = end + 4
    return "truncated file"
