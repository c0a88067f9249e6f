"""Draws the maps of every attention, and writes the sheets with a record of the network and the image."""

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
from rtseg.studies.visualize.maps import AttentionMaps, Point, attention_maps
from rtseg.studies.visualize.sheet import draw
from rtseg.terminal import say

_RECORD = "sheets.json"  # in a folder of sheets: their network, their image, and their names


def visualize(
    checkpoint: str | Path,
    image: str | Path,
    out_dir: str | Path,
    *,
    at: str | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Draws the weights of each attention of a network for an image, one sheet `<block>_<branch>_<attention>.jpg` each.

    A sheet for the pixel of `at` has `_at_X_Y` in its name. A folder has sheets of one network and one image, which
    `sheets.json` names. Sheets of further pixels are added. Sheets that are there are kept.

    Args:
        checkpoint: see `Segmenter.from_pretrained`.
        image: an image file of any size.
        out_dir: made if missing.
        at: "X,Y", the pixel whose weights are drawn where the keys of an attention are places, counted from 0 at the
            top left of the upright image. None: its centre.
        device: None takes a GPU where there is one.
        overwrite: write into a folder that is not empty. Sheets of another network or image are removed from it.

    Returns:
        The files, also those that were there already, in the order of the network.

    Raises:
        UserError: no such network, image, pixel or device; the network has no attention that can be drawn; `out_dir`
            cannot be written to, has something else in it while `overwrite` is off, or is in use by another command;
            a sheet would replace the image.
    """
    out_dir = Path(out_dir).expanduser()
    with locked_folder(out_dir):
        return _visualize(checkpoint, image, out_dir, at, device, overwrite)


def _visualize(
    checkpoint: str | Path, image: str | Path, out_dir: Path, at: str | None, device: str | None, overwrite: bool
) -> list[Path]:
    pixels = to_rgb(image)
    point = _parse_point(at, pixels)
    segmenter = Segmenter.from_pretrained(checkpoint)
    if segmenter.card.channels is not None:
        raise UserError(
            f"'{checkpoint}' takes images of {segmenter.card.channels} channels; attention is drawn over RGB"
        )
    if segmenter.card.attention == NO_ATTENTION and not segmenter.card.insert:
        raise UserError(
            f"'{checkpoint}' is a {segmenter.card.model}, which has no attention to draw; give a network of "
            f"{', '.join(swappable_models())}"
        )
    record = {
        "network": f"{segmenter.card.model} {segmenter.card.attention} {weights_hash(segmenter)}",
        "picture": f"sha256:{hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:12]}",
    }
    before = _read_record(out_dir)
    same = before.items() >= record.items()
    if not overwrite and not same:
        what = "sheets of another network or image are in it; " if before else ""
        check_empty(out_dir, f"{what}give another folder, or --overwrite to replace results in it")
    drawn, not_drawn = _drawn(segmenter, pixels, point, device)
    if not drawn:
        raise UserError(f"'{checkpoint}' cannot be drawn: {'; '.join(not_drawn)}")
    suffix = "" if at is None else f"_at_{point.x}_{point.y}"
    sheets = {out_dir / f"{maps.name}{'' if maps.position is None else suffix}.jpg": maps for maps in drawn}
    old = [out_dir / Path(name).name for name in before.get("sheets", [])]
    if os.path.realpath(Path(image).expanduser()) in map(os.path.realpath, [*sheets, *old]):
        raise UserError(f"a result would overwrite the image '{image}': give another folder")
    if not same:
        for path in old:
            path.unlink(missing_ok=True)
        old = []
    names = sorted({path.name for path in [*old, *sheets]})
    write_whole(out_dir / _RECORD, json.dumps({**record, "sheets": names}, indent=2) + "\n")
    for path, maps in sheets.items():
        if overwrite or not path.exists():
            write_whole(path, _jpeg(draw(maps, pixels, point)))
        say(path)
    for sentence in not_drawn:
        say(f"not drawn: {sentence}")
    if at is not None and all(maps.position is None for maps in drawn):
        say(f"--at {at} changed nothing: {segmenter.card.attention} is drawn for all positions at once")
    return list(sheets)


def _drawn(
    segmenter: Segmenter, pixels: np.ndarray, point: Point, device: str | None
) -> tuple[list[AttentionMaps], list[str]]:
    """The maps of the attentions that can be drawn, and why each of the others cannot."""
    attentions = [module for module in segmenter.modules() if isinstance(module, Attention)]
    without = {
        attention.name: f"attention '{attention.name}' has no attention_map"
        for attention in attentions
        if not attention.has_map
    }
    if len(without) == len({attention.name for attention in attentions}):
        return [], list(without.values())

    def failed(attention: Attention, why: str) -> None:
        without[attention.name] = f"the attention_map of attention '{attention.name}' fails: {why}"

    maps = attention_maps(deploy(segmenter).to(choose_device(device)), pixels, point, failed)
    return maps, list(without.values())


def _read_record(folder: Path) -> dict[str, Any]:
    """The record of an earlier call in the folder; empty where there is none."""
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
        raise UserError(f"--at '{at}' is not X,Y, two whole numbers of pixels as in '{example}', the image's centre")
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
