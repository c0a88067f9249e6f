"""What attention looks at: the maps of every attention of a network, drawn over a picture."""

import io
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image

from rtseg.deploy.device import choose_device
from rtseg.deploy.fuse import deploy
from rtseg.deploy.predictor import to_rgb
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.output import check_empty, make_folder, write_whole
from rtseg.studies.visualize.looks import Point, look
from rtseg.studies.visualize.sheet import draw


def visualize(
    checkpoint: str | Path,
    picture: str | Path,
    out_dir: str | Path,
    *,
    at: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Draws each attention of a network as it works on a picture, one sheet `<block>_<branch>_<attention>.jpg` each.

    Args:
        checkpoint: see `Segmenter.from_pretrained`.
        picture: an image file of any size.
        out_dir: made if missing.
        at: "X,Y", the pixel whose view is drawn where an attention's keys are places, counted from 0 at the top left of
            the upright picture; None for its centre.
        device: None takes a GPU where there is one.
        overwrite: write into a folder that is not empty.

    Returns:
        The files, in the order of the network.

    Raises:
        UserError: no such network, picture, pixel or device; `out_dir` cannot be written to, or holds something and
            `overwrite` is off; a sheet would replace the picture.
    """
    out_dir = Path(out_dir).expanduser()
    if not overwrite:
        check_empty(out_dir, "give another folder, or --overwrite to replace results in it")
    pixels = to_rgb(picture)
    point = _parse_point(at, pixels)
    network = deploy(Segmenter.from_pretrained(checkpoint)).to(choose_device(device))
    sheets = {out_dir / f"{found.name}.jpg": found for found in look(network, pixels, point)}
    if Path(os.path.realpath(Path(picture).expanduser())) in map(Path, map(os.path.realpath, sheets)):
        raise UserError(f"a result would overwrite the picture '{picture}': give another folder")
    make_folder(out_dir)
    for path, found in sheets.items():
        write_whole(path, _jpeg(draw(found, pixels, point)))
        print(path)
    if at is not None and all(found.position is None for found in sheets.values()):
        print(f"--at {at} changed nothing: {network.segmenter.card.attention} is drawn for all positions at once")
    return list(sheets)


def _parse_point(at: str | None, pixels: np.ndarray) -> Point:
    height, width, _ = pixels.shape
    if at is None:
        return Point(width // 2, height // 2)
    numbers = re.fullmatch(r"\s*([+-]?\d{1,9})\s*,\s*([+-]?\d{1,9})\s*", at)
    if numbers is None:
        example = f"--at {width // 2},{height // 2}"
        raise UserError(f"--at '{at}' is not X,Y, two whole numbers of pixels as in '{example}', the picture's centre")
    point = Point(int(numbers[1]), int(numbers[2]))
    if not (0 <= point.x < width and 0 <= point.y < height):
        raise UserError(
            f"--at {at} lies outside the picture, which is {width} pixels wide and {height} high: "
            f"X is 0 to {width - 1}, to the right, and Y 0 to {height - 1}, downwards"
        )
    return point


def _jpeg(sheet: Image.Image) -> bytes:
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=92, subsampling=0)  # subsampled colour would blur the edges of cells
    return encoded.getvalue()
