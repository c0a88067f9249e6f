"""Masks as COCO's compressed run lengths: the runs of a mask read column by column, written as text.

A run is the number of pixels of one value; the first is of zeros, and may be empty. From the third on, each is written
as the difference to the one two before it. A number becomes characters of five bits each, the lowest first; a sixth
bit says that more follow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtseg.errors import UserError


def encode(mask: np.ndarray) -> dict[str, Any]:
    """(H, W) bool -> {"size": [H, W], "counts": text}, as in COCO's files."""
    pixels = np.asarray(mask, bool).T.reshape(-1)
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    begin = [0, 0] if pixels.size and pixels[0] else [0]  # the first run is of zeros
    counts = np.diff(np.concatenate([begin, borders, [pixels.size]]))
    return {"size": [int(side) for side in mask.shape], "counts": _text(counts)}


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """The inverse of `encode`: (H, W) bool.

    Raises:
        UserError: the text is cut off, has other characters, or its runs do not fill the size.
    """
    height, width = rle["size"]
    counts = _numbers(rle["counts"])
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise UserError(f"these run lengths are not those of a mask of {height}x{width} (height x width)")
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return pixels.reshape(width, height).T


def _text(counts: np.ndarray) -> str:
    rest = counts.astype(np.int64)
    rest[3:] -= counts[1:-2]
    columns, more = [], np.ones(len(rest), bool)
    while more.any():
        digit, rest = rest & 31, rest >> 5
        follows = np.where(digit & 16, rest != -1, rest != 0)
        columns.append(np.where(more, digit + 32 * follows + 48, 0).astype(np.uint8))
        more &= follows
    digits = np.stack(columns, 1).reshape(-1)
    return digits[digits > 0].tobytes().decode()


def _numbers(text: str) -> list[int]:
    """Raises: UserError where the text ends within a number, or has other characters."""
    counts: list[int] = []
    number = shift = 0
    for character in text:
        digit = ord(character) - 48
        if not 0 <= digit < 64:
            raise UserError(f"'{character}' is not a character of COCO's run lengths")
        number |= (digit & 31) << shift
        shift += 5
        if digit & 32:
            continue
        if digit & 16:
            number -= 1 << shift
        counts.append(number + counts[-2] if len(counts) > 2 else number)
        number = shift = 0
    if shift:
        raise UserError("these run lengths are cut off: the last number is not whole")
    return counts
