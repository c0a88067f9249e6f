"""Masks as COCO's run lengths: the runs of a mask read column by column, as a list of numbers or compressed as text.

A run is the number of pixels of one value; the first is of zeros, and may be empty. In the text, each from the third on
is written as the difference to the one two before it. A number becomes characters of five bits each, the lowest first;
a sixth bit says that more follow.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rtseg.errors import UserError


def encode(mask: np.ndarray) -> dict[str, Any]:
    """(H, W) bool -> {"size": [H, W], "counts": text}, as in COCO's files of results."""
    return {"size": [int(side) for side in mask.shape], "counts": _text(_runs(mask))}


def encode_list(mask: np.ndarray) -> dict[str, Any]:
    """(H, W) bool -> {"size": [H, W], "counts": list of numbers}, as COCO's files have it for crowds."""
    return {"size": [int(side) for side in mask.shape], "counts": _runs(mask).tolist()}


def _runs(mask: np.ndarray) -> np.ndarray:
    pixels = np.asarray(mask, bool).T.reshape(-1)
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    begin = [0, 0] if pixels.size and pixels[0] else [0]  # the first run is of zeros
    return np.diff(np.concatenate([begin, borders, [pixels.size]]))


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """The inverse of `encode` and of `encode_list`: (H, W) bool.

    Raises:
        UserError: the text is cut off, has other characters, or its runs do not fill the size.
    """
    counts, (height, width) = run_lengths(rle), map(int, rle["size"])  # some programs write 64.0
    pixels = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return pixels.reshape(width, height).T


def run_lengths(rle: Mapping[str, Any]) -> list[int]:
    """The numbers of either form. Raises: UserError, see `decode`."""
    height, width = rle["size"]
    counts: list[int] = _numbers(rle["counts"]) if isinstance(rle["counts"], str) else rle["counts"]
    if not all(type(count) is int and count >= 0 for count in counts) or sum(counts) != height * width:
        raise UserError(f"these run lengths are not those of a mask of {height}x{width} (height x width)")
    return counts


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
