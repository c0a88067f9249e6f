"""A comparison of tiny networks, and what it wrote."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rtseg.speed.conditions import Conditions
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.report import Comparison
from rtseg.studies.runs.recipe import Recipe

TINY = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2}


CONFIG = f"""
model: {{options: {json.dumps(TINY)}, ema_decay: 0.9, optim: {{warmup_steps: 2}}}}
data: {{dataset: camvid, root: nowhere, batch_size: 3, crop_size: [32, 48], num_workers: 0}}
trainer: {{accelerator: cpu, max_steps: 7, check_val_every_n_epoch: 5, log_every_n_steps: 1}}
fps: {{seconds: 0.05}}
"""


SPEED: dict[str, Any] = {
    "num_classes": 11,
    "ratios": True,  # a test's machine is busy
    "conditions": Conditions(sizes=[(64, 96)], device="cpu", threads=1, seconds=0.05),
}


def settings(data: Path, config: Path, **changes: Any) -> dict[str, Any]:
    """Of `compare`; of the changes `epochs` and `flags` belong to the recipe."""
    own = {key: changes.pop(key) for key in ("epochs", "flags") if key in changes}
    recipe = Recipe("rtformer_slim", config, data, own.get("epochs", 2), tuple(own.get("flags", ())))
    return SPEED | {"recipe": recipe} | changes


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "compare.json").read_text())


# --- the best engine


def changed(comparison: Comparison, name: str, best: Mapping[str, Any] | None = None, **own: Any) -> Comparison:
    """With other figures of one row, in eager PyTorch (`own`) or on the best engine."""
    networks = dict(comparison.speed["networks"])
    networks[name] = {**networks[name], **own, "best": {**networks[name]["best"], **(best or {})}}
    return replace(comparison, speed={**comparison.speed, "networks": networks})


def cells(comparison: Comparison) -> dict[str, dict[str, str]]:
    """Row -> heading -> cell."""
    lines = [line for line in comparison.markdown().splitlines() if line.startswith("|")]
    headings, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].rstrip(" ¹²³"): dict(zip(headings, row, strict=True)) for row in rows}


def tips(comparison: Comparison) -> list[str]:
    """Of the dots, without those of the legend."""
    return [
        tip.text or ""
        for tip in ElementTree.fromstring(plot(comparison.drawn())).iter("{http://www.w3.org/2000/svg}title")
    ]
