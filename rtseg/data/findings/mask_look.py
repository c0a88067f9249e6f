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
    return MaskLook(
        size=raw.shape[:2],
        form=form,
        values={int(values[k]): int(counts[k]) for k in chosen},
        distinct=len(values),
        border=border,
        between=between,
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

    Where a mask was resized smoothly or went through JPEG, the numbers at a border lie between those on its two sides:
    every third to sixth border pixel of data sets that were spoilt so, every twentieth to thousandth of those that were
    not, where thin things lie between others by chance.
    """
    border = int(np.count_nonzero(numbers[:, 1:] != numbers[:, :-1]))
    border += int(np.count_nonzero(numbers[1:] != numbers[:-1]))
    found: list[np.ndarray] = []
    for one, middle, other in (
        (numbers[:, :-2], numbers[:, 1:-1], numbers[:, 2:]),
        (numbers[:-2], numbers[1:-1], numbers[2:]),
    ):
        found.append(middle[((one < middle) & (middle < other)) | ((one > middle) & (middle > other))])
    values, counts = np.unique(np.concatenate(found), return_counts=True)
    most = np.argsort(-counts, kind="stable")[:_LISTED]
    return border, {int(values[k]): int(counts[k]) for k in most}


def _with_palette(look: MaskLook, data: bytes) -> MaskLook:
    """Of a file with a palette, with the colours of the numbers that occur."""
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
