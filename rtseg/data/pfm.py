"""PFM, the format of Scene Flow's and Middlebury's disparities: float32, rows from the bottom up.

Pf              one channel; PF would be three
WIDTH HEIGHT
SCALE           its sign is the byte order: below 0 little-endian
4 * WIDTH * HEIGHT bytes
"""

import re
from pathlib import Path

import numpy as np

from rtseg.data.files import MAX_PIXELS
from rtseg.errors import UserError
from rtseg.output.folders import write_whole

_HEAD = re.compile(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,40})\s")
_LONGEST_HEAD = 200  # bytes
_COPY = "copy or download it again"


def pfm_head(path: Path) -> tuple[int, int, int, str]:
    """Height, width, where the numbers begin, and their type, such as "<f4", of a file whose length fits.

    Raises:
        UserError: it cannot be read, is not such a file, or is longer or shorter than its header says.
    """
    try:
        with path.open("rb") as file:
            head, length = file.read(_LONGEST_HEAD), file.seek(0, 2)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    found = _HEAD.match(head)
    if found is None:
        raise UserError(f"{path}: not a PFM file, which begins with 'Pf', width, height and scale; {_COPY}")
    kind, width, height = found[1], int(found[2]), int(found[3])
    if kind != b"Pf":
        raise UserError(f"{path}: a PFM of three channels; disparities have one, and begin with 'Pf'")
    try:
        scale = float(found[4])
    except ValueError:
        scale = 0.0
    if not (scale and np.isfinite(scale)):
        raise UserError(f"{path}: the scale {found[4].decode()} of a PFM must be a number other than 0; {_COPY}")
    if not 0 < width * height <= MAX_PIXELS:
        raise UserError(f"{path}: {height}x{width} pixels (height x width); from 1 to {MAX_PIXELS:,} are read")
    needed = found.end() + 4 * width * height
    if length != needed:
        raise UserError(
            f"{path}: {length:,} bytes, but {height}x{width} pixels (height x width) take {needed:,}; {_COPY}"
        )
    return height, width, found.end(), "<f4" if scale < 0 else ">f4"


def read_pfm(path: Path) -> np.ndarray:
    """(H, W) float32, the first row at the top. Raises: UserError, see `pfm_head`."""
    height, width, begin, kind = pfm_head(path)
    rows = np.fromfile(path, kind, height * width, offset=begin).reshape(height, width)
    return np.ascontiguousarray(rows[::-1], np.float32)


def write_pfm(path: Path, values: np.ndarray) -> None:
    """Writes (H, W) floats, little-endian."""
    height, width = values.shape
    write_whole(path, f"Pf\n{width} {height}\n-1.0\n".encode() + values[::-1].astype("<f4").tobytes())
