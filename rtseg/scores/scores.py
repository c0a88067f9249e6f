"""What is known of a network or a folder of class maps once all pixels are counted: figures, a table, JSON.

K classes, N images.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rtseg import metrics
from rtseg.output.table import Cell, Column, Table
from rtseg.scores.bootstrap import Interval, mean_iou, miou_interval
from rtseg.scores.boundary import Counts, boundary_iou
from rtseg.terminal import counted

_WORST = 5  # images that are named below the table


@dataclass(frozen=True)
class ImageCounts:
    """The counts of each image.

    Attributes:
        names: of the images.
        counts: (N, 3, K) integers: of each class the pixels that are right, labelled so, and predicted so.
    """

    names: tuple[str, ...]
    counts: np.ndarray

    @cached_property
    def miou(self) -> np.ndarray:
        """(N,) mean over the classes of each image; NaN where nothing is labelled."""
        return mean_iou(self.counts)

    @property
    def accuracy(self) -> np.ndarray:
        """(N,) share of the labelled pixels that are right; NaN where none is."""
        hits, truth, _ = np.moveaxis(self.counts, 1, 0)
        with np.errstate(invalid="ignore"):
            return hits.sum(-1) / truth.sum(-1).astype(np.float64)

    def worst(self) -> list[int]:
        """The images with the worst first; those without a labelled pixel are left out."""
        order = np.argsort(self.miou, kind="stable")
        return [int(i) for i in order if not np.isnan(self.miou[i])]


@dataclass(frozen=True)
class Scores:
    """All scores of one evaluation.

    Attributes:
        names: of class 0..K-1.
        confusion: (K, K) int64, rows the truth, columns the prediction.
        images: None where images were not told apart.
        boundary: see `rtseg.scores.boundary`; None where it was not asked for.
        boundary_width: share of the diagonal that it is of.
        how: what was scored and by which rule, for whoever reads the file, such as {"protocol": "ade20k"}.
    """

    names: tuple[str, ...]
    confusion: Tensor
    images: ImageCounts | None = None
    boundary: Counts | None = None
    boundary_width: float | None = None
    how: dict[str, Any] | None = None

    @property
    def miou(self) -> float:
        """Mean over the classes that occur or are predicted."""
        return metrics.mean_iou(self.confusion).item()

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        return metrics.pixel_accuracy(self.confusion).item()

    @cached_property
    def interval(self) -> Interval | None:
        """The interval of mIoU, over images."""
        return miou_interval(self.images.counts) if self.images is not None else None

    @cached_property
    def classes(self) -> dict[str, list[float]]:
        """IoU, precision, recall, Dice, and where it was asked for boundary IoU of each class; NaN: does not occur."""
        of = {"iou": metrics.iou, "precision": metrics.precision, "recall": metrics.recall, "dice": metrics.dice}
        found = {name: function(self.confusion).tolist() for name, function in of.items()}
        if self.boundary is not None:
            found["boundary_iou"] = boundary_iou(self.boundary).tolist()
        return found

    @property
    def boundary_miou(self) -> float | None:
        """Mean of the boundary IoU over the classes that occur."""
        if self.boundary is None:
            return None
        found = boundary_iou(self.boundary)
        return float(np.nanmean(found)) if not np.isnan(found).all() else math.nan

    def table(self) -> Table:
        """For a terminal."""
        title = f"mIoU {self.miou:.4f}   pixel accuracy {self.accuracy:.4f}"
        if (boundary := self.boundary_miou) is not None:
            title += f"   boundary IoU {boundary:.4f}"
        number = Column("", form="{:.4f}")
        columns = [
            Column("class", left=True),
            Column("IoU", form=number.form),
            Column("precision", form=number.form, yields=3),
            Column("recall", form=number.form, yields=2),
            Column("Dice", form=number.form, yields=4),
            Column("boundary IoU", form=number.form, optional=True),
            Column("pixels", "%", "{:.2f}", yields=1),
        ]
        truth = self.confusion.sum(1).double()
        shares = (100 * truth / truth.sum().clamp(min=1)).tolist()
        keys = ("iou", "precision", "recall", "dice", "boundary_iou")
        rows: list[list[Cell]] = []
        for k, name in enumerate(self.names):
            values: list[Cell] = [_cell(self.classes[key][k]) if key in self.classes else None for key in keys]
            if values[0] is None:
                values[0] = "does not occur"
            rows.append([name, *values, shares[k]])
        return Table(title, columns, rows)

    def notes(self) -> list[str]:
        """What stands below the table."""
        found = []
        if (interval := self.interval) is not None and self.images is not None:
            found.append(
                f"mIoU: {interval.level:.0%} interval {interval.low:.4f} to {interval.high:.4f}, by bootstrap over "
                f"{counted(len(self.images.names), 'image')} ({interval.resamples} draws, seed {interval.seed})"
            )
        paddle = metrics.paddle_mean_iou(self.confusion).item()
        if not math.isclose(paddle, self.miou, abs_tol=5e-5):
            found.append(f"PaddleSeg's mIoU {paddle:.4f}: a class that neither occurs nor is predicted counts as 1")
        if self.boundary_width is not None:
            found.append(f"boundary IoU: of the pixels within {self.boundary_width:.2%} of the diagonal of an outline")
        if self.images is not None and len(self.images.names) > 1:
            worst = self.images.worst()[:_WORST]
            texts = [f"{self.images.names[i]} {self.images.miou[i]:.4f}" for i in worst]
            found.append(f"worst images, by the mean IoU of their own classes: {', '.join(texts)}")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; a score of nothing is null."""
        truth = self.confusion.sum(1).tolist()
        found: dict[str, Any] = {
            **(self.how or {}),
            "miou": _number(self.miou),
            "miou_paddleseg": _number(metrics.paddle_mean_iou(self.confusion).item()),
            "accuracy": _number(self.accuracy),
            "kappa": _number(metrics.kappa(self.confusion).item()),
            "pixels": sum(truth),
            "interval": self.interval._asdict() if self.interval is not None else None,
        }
        if self.boundary is not None:
            found |= {"boundary_miou": _number(self.boundary_miou), "boundary_width": self.boundary_width}
            found["boundary_counts"] = self.boundary.tolist()
        found["classes"] = [
            {"name": name, "pixels": truth[k], **{key: _number(values[k]) for key, values in self.classes.items()}}
            for k, name in enumerate(self.names)
        ]
        found["confusion"] = self.confusion.tolist()
        if self.images is not None:
            found["images"] = [
                {
                    "name": self.images.names[i],
                    "miou": _number(float(self.images.miou[i])),
                    "accuracy": _number(float(self.images.accuracy[i])),
                }
                for i in self.images.worst()
            ]
        return found

    def json(self) -> str:
        """One object, a class and an image a line."""
        lines = ",\n".join(f"  {json.dumps(key)}: {_lines(value)}" for key, value in self.to_dict().items())
        return f"{{\n{lines}\n}}\n"


def image_counts(confusion: Tensor) -> Tensor:
    """The confusion matrix of one image -> its (3, K) of `ImageCounts`."""
    return torch.stack([confusion.diagonal(), confusion.sum(1), confusion.sum(0)])


def _cell(value: float) -> Cell:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


def _lines(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(entry)}" for entry in value) + "\n  ]"
