"""Looking at a label file: its numbers or colours, and whether they were blended."""

from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.data.files import read_mask
from rtseg.data.findings.image_look import broken_chunk, digest
from rtseg.data.findings.looks import GREY_COLOURS, MaskLook
from rtseg.data.folder import color_codes
from rtseg.errors import UserError

_LISTED = 1024  # values of one mask


def look_at_mask(path: Path) -> MaskLook:
    """Decodes a label file."""
    try:
        raw, data = read_mask(path), path.read_bytes()
    except UserError as error:
        return MaskLook(fault=str(error))
    except OSError as error:
        return MaskLook(fault=f"{path}: cannot be read ({error.strerror})")
    if fault := broken_chunk(data):
        return MaskLook(fault=f"{path}: {fault}; copy it again")
    if raw.ndim == 3 and raw.dtype != np.uint8:
        return MaskLook(fault=f"{path}: colours of 16 bits, where 8 are read; save it with 8 bits a channel")
    look = look_at_numbers(raw)
    return look if raw.ndim == 3 else _with_palette(look, data)


def look_at_numbers(raw: np.ndarray) -> MaskLook:
    """What `look_at_mask` keeps of a mask as `read_mask` returns it."""
    form = "numbers"
    if raw.ndim == 3:
        equal = (raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all()
        form = GREY_COLOURS if equal else "colours"
    numbers = raw if raw.ndim == 2 else raw[..., 0] if form == GREY_COLOURS else color_codes(raw)
    values, counts = _counted(numbers)
    chosen = np.argsort(-counts, kind="stable")[:_LISTED]
    border, between = (0, {}) if form == "colours" else _blended(numbers)
    thin = () if form == "colours" else _thin(numbers, values)
    return MaskLook(
        size=raw.shape[:2],
        form=form,
        values={int(values[k]): int(counts[k]) for k in chosen},
        distinct=len(values),
        border=border,
        between=between,
        thin=thin,
        digest=digest(raw),
    )


def _counted(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if numbers.dtype != np.uint8:
        return np.unique(numbers, return_counts=True)
    counts = cv2.calcHist([numbers], [0], None, [256], [0, 256]).ravel().astype(np.int64)
    values = np.flatnonzero(counts)
    return values, counts[values]


def _blended(numbers: np.ndarray) -> tuple[int, dict[int, int]]:
    """`border` and `between` of a look.

    Where a mask was resized smoothly or went through JPEG, numbers lie at its borders that are between those on both
    sides, one or two pixels wide. In others this happens where a thin thing lies between two by chance.
    """
    border, found = 0, list[np.ndarray]()
    for lines in (numbers, np.ascontiguousarray(numbers.T)):
        rises, falls = lines[:, :-1] < lines[:, 1:], lines[:, :-1] > lines[:, 1:]
        border += int(np.count_nonzero(rises)) + int(np.count_nonzero(falls))
        found.append(lines[:, 1:-1][(rises[:, :-1] & rises[:, 1:]) | (falls[:, :-1] & falls[:, 1:])])
        flat = ~(rises | falls)[:, 1:-1]
        wide = flat & ((rises[:, :-2] & rises[:, 2:]) | (falls[:, :-2] & falls[:, 2:]))
        found += [lines[:, 1:-2][wide]] * 2
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_LISTED]
    return border, {int(values[k]): int(counts[k]) for k in most}


def _thin(numbers: np.ndarray, values: np.ndarray) -> tuple[int, ...]:
    """The values that nowhere fill a square of 3 x 3 pixels."""
    square = np.ones((3, 3), np.uint8)
    inside = numbers[cv2.dilate(numbers, square) == cv2.erode(numbers, square)]
    return tuple(int(value) for value in np.setdiff1d(values, np.unique(inside))[:_LISTED])


def _with_palette(look: MaskLook, data: bytes) -> MaskLook:
    """With the colours of the numbers that occur, where the file has a palette."""
    try:
        with Image.open(BytesIO(data)) as file:
            if file.mode != "P" or not (levels := file.getpalette("RGB")):
                return look
    except Exception:  # Pillow's readers meet damage with exceptions of any kind
        return look
    colors = {
        number: "#" + bytes(levels[3 * number : 3 * number + 3]).hex()
        for number in look.values
        if 3 * number + 3 <= len(levels)
    }
    return MaskLook(**{**look.__dict__, "form": "palette", "palette": colors})
