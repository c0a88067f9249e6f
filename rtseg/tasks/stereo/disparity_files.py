"""Disparities in files: PFM, and KITTI's PNG of 16 bits. In memory, (H, W) float32 in pixels; 0 stands for unknown."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np

from rtseg.data.files import read_mask
from rtseg.data.header import image_size
from rtseg.data.pfm import pfm_head, read_pfm
from rtseg.errors import UserError
from rtseg.output.folders import write_whole

Bad = Literal["refuse", "skip"]
BAD: tuple[Bad, ...] = ("refuse", "skip")
STEPS = 256  # of a pixel, in a PNG
LARGEST = (2**16 - 1) / STEPS  # disparity that a PNG can hold
_HEAD = 4096  # bytes in which a PNG says its size


class Disparity(NamedTuple):
    """What a file holds.

    Attributes:
        values: (H, W) float32; 0 where nothing is known.
        bad: how many pixels were NaN or negative, which are unknown now.
    """

    values: np.ndarray
    bad: int


def read_disparity(path: Path, bad: Bad = "refuse") -> Disparity:
    """Reads a .pfm or .png file.

    Args:
        bad: what is done about NaN and negative disparities; "skip" makes them unknown.

    Raises:
        UserError: it cannot be read, or holds such disparities and shall not.
    """
    values = read_pfm(path) if path.suffix.lower() == ".pfm" else _read_png(path)
    values[np.isposinf(values)] = 0  # Middlebury's word for unknown
    nan, negative = int(np.isnan(values).sum()), int((values < 0).sum())
    if nan or negative:
        if bad == "refuse":
            raise UserError(
                f"{path}: of {values.size:,} disparities {nan:,} are NaN and {negative:,} negative; mend the file, or "
                "give --data.bad=skip to leave such pixels out"
            )
        values[np.isnan(values) | (values < 0)] = 0
    return Disparity(values, nan + negative)


def _read_png(path: Path) -> np.ndarray:
    stored = read_mask(path)
    if stored.dtype != np.uint16 or stored.ndim != 2:
        kind = f"{stored.dtype.itemsize * 8} bits, {stored.shape[2] if stored.ndim == 3 else 1} channels"
        raise UserError(f"{path}: {kind}; disparities are a grey PNG of 16 bits, in steps of 1/{STEPS} pixel")
    return stored.astype(np.float32) / STEPS


def write_disparity_png(path: Path, values: np.ndarray) -> None:
    """Writes (H, W) disparities as KITTI does, rounded to 1/256 pixel: known ones at least that, at most `LARGEST`,
    unknown ones 0.
    """
    steps = np.where(values > 0, np.clip(np.rint(values * STEPS), 1, 2**16 - 1), 0).astype(np.uint16)
    _, content = cv2.imencode(".png", steps)
    write_whole(path, content.tobytes())


def file_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image or of a disparity file, from its header.

    Raises:
        UserError: the header cannot be read; or a PFM is longer or shorter than it says.
    """
    if path.suffix.lower() == ".pfm":
        height, width, _, _ = pfm_head(path)
        return height, width
    try:
        with path.open("rb") as file:
            size = _size(file.read)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    if size is None:
        raise UserError(f"{path}: not a readable image; replace or remove it")
    return size[1], size[0]


def _size(read: Callable[[int], bytes]) -> tuple[int, int] | None:
    head = read(_HEAD)
    if head.startswith(b"\x89PNG\r\n\x1a\n") and len(head) >= 24:  # the whole file would be read for its chunks
        return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])
    return image_size(head + read(-1))
