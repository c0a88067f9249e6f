"""The command: catches the maps of every attention, and writes the sheets with a record of whose they are."""

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rtseg.attention.base import Attention
from rtseg.deploy.device import choose_device
from rtseg.deploy.fuse import deploy
from rtseg.deploy.rgb import to_rgb
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, swappable_models
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.output.folders import check_empty, write_whole
from rtseg.output.lock import locked_folder
from rtseg.studies.visualize.looks import Point, look
from rtseg.studies.visualize.sheet import draw
from rtseg.terminal import say

_RECORD = "sheets.json"  # in a folder of sheets: whose they are, and their names


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

    A sheet drawn for the pixel of `at` has `_at_X_Y` in its name. A folder holds sheets of one network and one picture,
    which `sheets.json` notes; sheets of further pixels may be added, and what is there is kept.

    Args:
        checkpoint: see `Segmenter.from_pretrained`.
        picture: an image file of any size.
        out_dir: made if missing.
        at: "X,Y", the pixel whose view is drawn where an attention's keys are places, counted from 0 at the top left of
            the upright picture; None for its centre.
        device: None takes a GPU where there is one.
        overwrite: write into a folder that is not empty; sheets of another network or picture are removed from it.

    Returns:
        The files, also those that were there already, in the order of the network.

    Raises:
        UserError: no such network, or one without attention; no such image, pixel or device; `out_dir` cannot be
            written to, holds something else and `overwrite` is off, or another command works in it; a sheet would
            replace the picture.
    """
    out_dir = Path(out_dir).expanduser()
    with locked_folder(out_dir):
        return _visualize(checkpoint, picture, out_dir, at, device, overwrite)


def _visualize(
    checkpoint: str | Path, picture: str | Path, out_dir: Path, at: str | None, device: str | None, overwrite: bool
) -> list[Path]:
    pixels = to_rgb(picture)
    point = _parse_point(at, pixels)
    segmenter = Segmenter.from_pretrained(checkpoint)
    if segmenter.card.attention == NO_ATTENTION:
        raise UserError(
            f"'{checkpoint}' is a {segmenter.card.model}, which has no attention to draw; give a network of "
            f"{', '.join(swappable_models())}"
        )
    whose = {
        "network": f"{segmenter.card.model} {segmenter.card.attention} {weights_hash(segmenter)}",
        "picture": f"sha256:{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:12]}",
    }
    attentions = [module for module in segmenter.modules() if isinstance(module, Attention)]
    mapless = sorted({attention.name for attention in attentions if not attention.has_map})
    if all(not attention.has_map for attention in attentions):
        raise UserError(f"'{checkpoint}' cannot be drawn: attention {', '.join(mapless)} has no attention_map")
    before = _read_record(out_dir)
    same = before.items() >= whose.items()
    if not overwrite and not same:
        what = "sheets of another network or picture are in it; " if before else ""
        check_empty(out_dir, f"{what}give another folder, or --overwrite to replace results in it")
    network = deploy(segmenter).to(choose_device(device))
    suffix = "" if at is None else f"_at_{point.x}_{point.y}"
    looks = look(network, pixels, point)
    sheets = {out_dir / f"{found.name}{'' if found.position is None else suffix}.jpg": found for found in looks}
    old = [out_dir / Path(name).name for name in before.get("sheets", [])]
    if os.path.realpath(Path(picture).expanduser()) in map(os.path.realpath, [*sheets, *old]):
        raise UserError(f"a result would overwrite the image '{picture}': give another folder")
    if not same:
        for path in old:
            path.unlink(missing_ok=True)
        old = []
    names = sorted({path.name for path in [*old, *sheets]})
    write_whole(out_dir / _RECORD, json.dumps({**whose, "sheets": names}, indent=2) + "\n")
    for path, found in sheets.items():
        if overwrite or not path.exists():
            write_whole(path, _jpeg(draw(found, pixels, point)))
        say(path)
    for name in mapless:
        say(f"attention '{name}' is not drawn: it has no attention_map")
    if at is not None and all(found.position is None for found in sheets.values()):
        say(f"--at {at} changed nothing: {network.segmenter.card.attention} is drawn for all positions at once")
    return list(sheets)


def _read_record(folder: Path) -> dict[str, Any]:
    """What an earlier call noted in the folder; nothing where there is no such note."""
    try:
        record = dict(json.loads((folder / _RECORD).read_text()))
        return record if all(name.endswith(".jpg") for name in record["sheets"]) else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


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
            f"--at {at} lies outside the image, which is {width} pixels wide and {height} high: "
            f"X is 0 to {width - 1}, to the right, and Y 0 to {height - 1}, downwards"
        )
    return point


def _jpeg(sheet: Image.Image) -> bytes:
    encoded = io.BytesIO()
    sheet.save(encoded, "JPEG", quality=92, subsampling=0)  # subsampled colour would blur the edges of cells
    return encoded.getvalue()
