"""How well a run learnt: the headline figures, the curves, and the IoU of each class."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from rtseg.models.segmenter import Segmenter
from rtseg.output.axis import Axis
from rtseg.output.chart import GREY, Chart, Series
from rtseg.speed.benchmark import count_macs, count_parameters
from rtseg.studies.report.figures import Figure, amount, percent
from rtseg.studies.report.run_folder import Run


class Throughput(NamedTuple):
    """Throughput of a whole training."""

    rate: str
    how: str
    waited: str


@dataclass(frozen=True)
class ClassRow:
    """A class as the table shows it.

    Attributes:
        kind: "present", "least" (the smallest of the data) or "absent".
        width: the bar's, in per cent; None without a bar.
    """

    name: str
    color: str
    kind: str
    value: str
    share: str
    width: float | None


def best_miou(run: Run) -> Figure | None:
    """The best mean IoU; None before the first validation."""
    best = run.log.best
    if best is None:
        return None
    epoch = f", epoch {best['epoch'] + 1:.0f}" if "epoch" in best else ""
    when = f"step {best['step'] + 1:.0f}{epoch}"
    what = f"mean IoU (1 is perfect) on the validation images, the best of the training: {when}"
    return Figure(f"{best['val/miou']:.4f}", what)


def figures(run: Run) -> list[Figure]:
    """The network's figures beside its mIoU."""
    best = run.log.best
    found = []
    if best and "val/accuracy" in best:
        found.append(Figure(f"{best['val/accuracy']:.4f}", "pixel accuracy, at the same step"))
    known = [(entry.share, entry) for entry in run.classes if entry.share and entry.iou is not None]
    if known:
        share, least = min(known, key=lambda pair: pair[0])
        what = f"IoU of the smallest class: {least.name}, {percent(share)} of the pixels"
        found.append(Figure(f"{least.iou:.4f}", what))
    if (cost := _cost(run)) is not None:
        parameters, macs, (height, width) = cost
        found.append(Figure(amount(parameters), f"parameters at inference ({parameters:,})"))
        found.append(Figure(amount(macs), f"multiply-adds of one image, {height}×{width}"))
    return found


def _cost(run: Run) -> tuple[int, int, tuple[int, int]] | None:
    """Parameters at inference, multiply-adds, and the input size that they hold for; None without a checkpoint."""
    if run.benchmark is not None:
        for row in run.benchmark.networks:
            if row.parameters and row.macs:
                return row.parameters, row.macs, row.input_size
    if run.card is None or run.input_size is None:
        return None
    segmenter = Segmenter(run.card)
    return count_parameters(segmenter), count_macs(segmenter, run.input_size), run.input_size


def curves(run: Run) -> list[Chart]:
    """Loss, mIoU, learning rate and throughput over the steps, those that are logged."""
    log, best = run.log, run.log.best
    steps = Axis("step", zero=True, until=max(log.last_step, 1))
    rates = [name for name in log.columns if name.startswith("lr-")]
    marks = [(best["step"], best["val/miou"], f"best {best['val/miou']:.4f}")] if best else []
    charts = [
        Chart(
            "Loss",
            steps,
            Axis("loss, logarithmic", log=True),
            [
                Series("train/loss", log.points("train/loss"), color=GREY),
                Series("val/loss", log.points("val/loss"), dots=True, color=0),
            ],
        ),
        Chart(
            "Mean IoU on the validation images",
            steps,
            Axis("mean IoU", zero=True),
            [Series("val/miou", log.points("val/miou"), dots=True)],
            marks,
        ),
        Chart(
            "Learning rate",
            steps,
            Axis("learning rate", zero=True),
            [Series(name.rpartition("/")[2], log.points(name)) for name in rates],
        ),
        Chart(
            "Training throughput",
            steps,
            Axis("images/s", zero=True),
            [Series("speed/train_images_per_s", log.points("speed/train_images_per_s"))],
        ),
    ]
    return [chart for chart in charts if chart.shown]


def curve_notes(run: Run) -> list[str]:
    """Notes below the curves: what they do not show by themselves."""
    notes = [
        "train/loss is the training's own loss, auxiliary head included; val/loss is the plain cross-entropy of the "
        "main head: the two are on different scales."
    ] * bool(run.log.points("val/loss"))
    return notes + [
        f"{name} was not finite at {count} logged steps, which are left out."
        for name in ("train/loss", "val/loss")
        if (count := run.log.not_finite(name))
    ]


def throughput(run: Run) -> Throughput | None:
    """The throughput over the whole log; each row is of the same number of images, so times add up, not rates."""
    rows = [
        row
        for row in run.log.rows
        if 0 < row.get("speed/train_images_per_s", 0) < math.inf and "speed/data_wait" in row
    ]
    if not rows:
        return None
    seconds = [1 / row["speed/train_images_per_s"] for row in rows]
    waited = sum(row["speed/data_wait"] * time for row, time in zip(rows, seconds, strict=True)) / sum(seconds)
    how = ["over the whole training"]
    if batch := run.setting("data", "batch_size"):
        how.append(f"batch {batch}")
    if size := run.size("data", "crop_size"):
        how.append(f"crops of {size[0]}×{size[1]}")
    if precision := run.setting("trainer", "precision"):
        how.append(f"precision {precision}")
    return Throughput(f"{len(rows) / sum(seconds):.2f} images/s", ", ".join(how), f"{waited:.2%}")


def class_rows(run: Run) -> list[ClassRow]:
    """The rows of the table of classes, in the data set's order; none before the first validation."""
    if run.log.best is None:
        return []
    least = min((entry.share for entry in run.classes if entry.share), default=None)
    rows = []
    for entry in run.classes:
        value, kind, width = "not logged", "absent", None
        if entry.iou is not None and math.isnan(entry.iou):
            value = "does not occur"
        elif entry.iou is not None:
            value, width = f"{entry.iou:.4f}", 100 * entry.iou
            kind = "least" if entry.share is not None and entry.share == least else "present"
        share = "" if entry.share is None else percent(entry.share)
        rows.append(ClassRow(entry.name, entry.css, kind, value, share, width))
    return rows


def class_notes(run: Run) -> list[str]:
    """Notes below the table of classes."""
    best = run.log.best
    notes = [f"At the best validation, step {best['step'] + 1:.0f}. The dashed line is the mean."] if best else []
    if any(entry.iou is not None and math.isnan(entry.iou) for entry in run.classes):
        notes.append("The mean leaves out classes that neither occur in the labels nor are predicted.")
    if any(entry.share for entry in run.classes):
        notes.append(f"Pixels: share of the labelled pixels, {run.shares_note}.")
    if run.card is None:
        notes.append("Without a checkpoint the classes are in the order of the alphabet, in colours made up here.")
    return notes
