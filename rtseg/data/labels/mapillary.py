"""Mapillary Vistas: config.json with the labels, {training,validation}/{images,labels}, PNGs of their numbers."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.dataset import IGNORE
from rtseg.data.faults import Faults
from rtseg.data.labels.pairs import ImageFinder, labelled_by_mask, masks_below, read_numbers, relabelled
from rtseg.data.labels.source import Asked, Color, Labelled, Source, listed
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json

_PARTS = {"training": "train", "validation": "val", "testing": "test", "": None}


def is_here(path: Path) -> bool:
    """Whether a config lists labels, and there are masks of them."""
    return bool(_versions(path))


def read(path: Path, asked: Asked) -> Source:
    """The newest of several versions. Raises: UserError where there is none, or its labels cannot be used."""
    versions = _versions(path)
    if not versions:
        raise UserError(f"'{path}' has no config*.json with labels beside folders of them: give the unpacked folder")
    config, version = versions[-1]
    labels = _labels(config)
    # What is not evaluated is what nobody could tell.
    kept = [k for k, one in enumerate(labels) if one.get("evaluate", True)]
    left_out = [one["name"] for one in labels if not one.get("evaluate", True)]
    table = {k: IGNORE for k in range(len(labels))} | {k: place for place, k in enumerate(kept)}
    notes = [f"Read by {config.name}."]
    if left_out:
        notes.append(f"Ignored, as {config.name} does not evaluate them: {listed(left_out)}.")
    images, faults = _images(path, version, asked, table)
    names, colors = [labels[k]["name"] for k in kept], [_color(labels[k]) for k in kept]
    palette = tuple(color for color in colors if color is not None)
    return Source(
        "Mapillary Vistas",
        tuple(names),
        images,
        palette=palette if len(palette) == len(names) else None,
        faults=faults,
        notes=notes,
    )


def _versions(path: Path) -> list[tuple[Path, str]]:
    """Config files and the folder between a part and its labels: `v2.0`, or nothing."""
    found = []
    for config in sorted(path.glob("config*.json")):
        for version in (config.stem.removeprefix("config").removeprefix("_"), ""):
            if any((path / part / version / "labels").is_dir() for part in _PARTS):
                found.append((config, version))
                break
    return found


def _labels(config: Path) -> list[dict[str, Any]]:
    content = parse_json(config.read_bytes(), f"'{config}'")
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in labels
    ):
        raise UserError(f"'{config}' is not Mapillary's: it needs a list `labels`, each with a name; unpack it again")
    return labels


def _color(label: dict[str, Any]) -> Color | None:
    color = label.get("color")
    if isinstance(color, list) and len(color) == 3 and all(type(level) is int and 0 <= level < 256 for level in color):
        return color[0], color[1], color[2]
    return None


def _images(path: Path, version: str, asked: Asked, table: dict[int, int]) -> tuple[list[Labelled], Faults]:
    faults, images = Faults(), []
    for part, split in _PARTS.items():
        finder = ImageFinder([asked.images] if asked.images else [path / part / "images"])
        for name, mask in masks_below(path / part / version / "labels").items():
            if (image := finder.find(name)) is None:
                faults.add("masks without an image", f"{part}/{name}")
            else:
                images.append(labelled_by_mask(name, image, mask, partial(_decode, table), split))
    return images, faults


def _decode(table: dict[int, int], path: Path) -> np.ndarray:
    return relabelled(read_numbers(path), table, path, "the config has fewer labels; give the one of these masks")
