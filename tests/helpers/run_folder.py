"""Files as a training writes them into its folder, and the page made of them, taken apart."""

import csv
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rtseg.models.model_card import ModelCard
from rtseg.output.examples import Example, write_examples
from rtseg.scores import ImageCounts, Scores

NAMES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign symbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)


PALETTE = tuple((10 * k, 255 - 20 * k, (40 * k) % 256) for k in range(11))


OPTIONS: dict[str, Any] = {"base_channels": 8, "spp_channels": 16, "head_channels": 8, "cross_size": 3}


class Page(HTMLParser):
    """Text, attributes and tables of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.html = file.read_text(encoding="utf-8")
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.words: list[str] = []
        self._inside: list[str] = []
        self.feed(self.html)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:  # void elements have no end
            pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._inside):
            self.words.append(data)
        if {"td", "th"} & set(self._inside):
            self.rows[-1][-1] += data

    def tags(self) -> set[str]:
        return {tag for tag, _, _ in self.attributes}

    def pictures(self) -> list[str]:
        return [value for tag, name, value in self.attributes if (tag, name) == ("img", "src")]


def write_log(run: Path, rows: Sequence[dict[str, float]]) -> None:
    columns = sorted({name for row in rows for name in row})
    with (run / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def validation(step: int, miou: float) -> dict[str, float]:
    ious = {f"val/iou_{name}": miou + (k - 5) / 100 for k, name in enumerate(NAMES)}
    scores = {"val/miou": miou, "val/loss": 1 - miou, "val/accuracy": 0.9}
    return {"step": step, "epoch": step // 10, **scores, **ious}


def log_rows() -> list[dict[str, float]]:
    """As Lightning logs, learning rates, losses and validations in rows of their own. The second validation is best."""
    rows: list[dict[str, float]] = []
    for step in range(9, 40, 10):
        rows.append({"step": step, "lr-AdamW/backbone": 1e-3 / (step + 1), "lr-AdamW/heads": 2e-3 / (step + 1)})
        rows.append(
            {"step": step, "epoch": step // 10, "train/loss": 3 / (step + 1)}
            | {"speed/train_images_per_s": 8.0, "speed/data_wait": 0.0125}
        )
    return [*rows, validation(19, 0.41), validation(29, 0.6543), validation(39, 0.6012)]


def write_checkpoint(run: Path, **changes: Any) -> ModelCard:
    card = ModelCard("rtformer_slim", "gfa+ca", 11, OPTIONS, NAMES, PALETTE, input_size=(24, 32), dataset="camvid")
    card = replace(card, **changes)
    torch.save({"model_card": card.to_dict(), "state_dict": {}, "global_step": 40}, run / "best.ckpt")
    return card


def write_data(root: Path) -> None:
    """Two validation pairs in CamVid's layout: of 600 pixels 60 are void, and of the other 540 half are road."""
    mask = np.full((20, 30), 11, np.uint8)
    mask[2:11] = 3
    mask[11:19] = 0
    mask[19:] = 4
    mask[19, 0] = 8
    for name in ("a", "b"):
        for folder in ("val", "valannot"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / "val" / f"{name}.png")
        Image.fromarray(mask).save(root / "valannot" / f"{name}.png")


def write_examples_of(run: Path, names: Sequence[str], size: tuple[int, int] = (24, 32)) -> list[Example]:
    """Examples of eleven classes in stripes; the upper half is predicted as class 3, the first row is not labelled."""
    truth = np.repeat(np.arange(size[1], dtype=np.uint8)[None] % len(NAMES), size[0], 0)
    truth[0] = 255
    prediction = truth.copy()
    prediction[: size[0] // 2] = 3
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    examples = [Example(name, image, prediction, truth) for name in names]
    write_examples(run / "pictures/step_000030", examples, PALETTE)
    return examples


def write_picture(path: Path, size: tuple[int, int], color: tuple[int, int, int] | None = None) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise if color is None else np.full_like(noise, color)).save(path)


def drawn_scores(names: tuple[str, ...] = NAMES) -> Scores:
    """The scores of three images, one of whose names wants to be HTML."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 50, (3, len(names), len(names)))
    images = np.stack([np.stack([one.diagonal(), one.sum(1), one.sum(0)]) for one in counts])
    how = {"checkpoint": "best.ckpt", "split": "val", "protocol": "ms-flip"}
    edges = images.sum(0)
    return Scores(names, torch.from_numpy(counts.sum(0)), ImageCounts(("a<b>", "b", "c"), images), edges, 0.02, how)
