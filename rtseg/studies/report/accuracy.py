"""How well a run learnt: the headline figures, the curves, and the IoU of each class."""

import math
from collections.abc import Sequence
from html import escape

from rtseg.models.segmenter import Segmenter
from rtseg.output.axis import Axis
from rtseg.output.chart import GREY, Chart, Series, inline
from rtseg.speed.benchmark import count_macs, count_parameters
from rtseg.studies.report.elements import figure, percent, rgb, swatch
from rtseg.studies.report.run_folder import ClassScore, Run


def class_strip(classes: Sequence[ClassScore]) -> str:
    """The classes as a band of their colours, as wide as their share of the pixels where that is known."""
    if not classes:
        return ""
    parts = []
    for entry in classes:
        share = "" if entry.share is None else f", {percent(entry.share)} of the pixels"
        grow = 1.0 if entry.share is None else entry.share
        parts.append(
            f'<span style="flex-grow:{grow:.5f};background:{rgb(entry)}" title="{escape(entry.name)}{share}"></span>'
        )
    return f'<div class="strip" role="img" aria-label="colours of the classes">{"".join(parts)}</div>'


def accuracy_headline(run: Run) -> str:
    """mIoU, and the figures of the network beside it."""
    best = run.log.best
    if best is None:
        headline = '<p class="warn">No validation has been logged yet, so there is no mIoU.</p>'
    else:
        epoch = f", epoch {best['epoch'] + 1:.0f}" if "epoch" in best else ""
        headline = (
            f'<div class="miou"><b>{best["val/miou"]:.4f}</b>'
            f"<span>best mean IoU on the validation images, at step {best['step']:.0f}{epoch}</span></div>"
        )
    figures = []
    if best and "val/accuracy" in best:
        figures.append(figure(f"{best['val/accuracy']:.4f}", "pixel accuracy, at the same step"))
    known = [(entry.share, entry) for entry in run.classes if entry.share and entry.iou is not None]
    if known:
        share, least = min(known, key=lambda pair: pair[0])
        what = f"IoU of the smallest class: {least.name}, {percent(share)} of the pixels"
        figures.append(figure(f"{least.iou:.4f}", what))
    if (cost := _cost(run)) is not None:
        parameters, macs, (height, width) = cost
        figures.append(figure(f"{parameters / 1e6:.2f} M", f"parameters at inference ({parameters:,})"))
        figures.append(figure(f"{macs / 1e9:.2f} G", f"multiply-adds of one picture, {height}×{width}"))
    return headline + f'<div class="figures">{"".join(figures)}</div>'


def _cost(run: Run) -> tuple[int, int, tuple[int, int]] | None:
    """Parameters at inference, multiply-adds, and the input size that they hold for; None without a checkpoint."""
    if run.benchmark is not None:
        row = run.benchmark.networks[0]
        if row.parameters and row.macs:
            return row.parameters, row.macs, row.input_size
    if run.card is None or run.input_size is None:
        return None
    segmenter = Segmenter(run.card)
    return count_parameters(segmenter), count_macs(segmenter, run.input_size), run.input_size


def curve_section(run: Run) -> str:
    """Loss, mIoU, learning rate and throughput over the steps; empty where none is logged."""
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
    drawn = [f"<figure>{inline(chart)}</figure>" for chart in charts if chart.shown]
    if not drawn:
        return ""
    notes = [
        "train/loss is the training's own loss, auxiliary head included; val/loss is the plain cross-entropy of the "
        "main head: the two are on different scales."
    ] * bool(log.points("val/loss"))
    notes += [
        f"{name} was not finite at {count} logged steps, which are left out."
        for name in ("train/loss", "val/loss")
        if (count := log.not_finite(name))
    ]
    lines = "".join(f'<p class="soft">{escape(note)}</p>' for note in notes)
    return f'<section><h2>Training</h2>{_throughput(run)}<div class="charts">{"".join(drawn)}</div>{lines}</section>'


def _throughput(run: Run) -> str:
    """Over the whole log; each row stands for the same number of images, so times add up, not rates."""
    rows = [row for row in run.log.rows if row.get("speed/train_images_per_s", 0) > 0 and "speed/data_wait" in row]
    if not rows:
        return ""
    seconds = [1 / row["speed/train_images_per_s"] for row in rows]
    waited = sum(row["speed/data_wait"] * time for row, time in zip(rows, seconds, strict=True)) / sum(seconds)
    how = []
    if batch := run.setting("data", "batch_size"):
        how.append(f"batch {batch}")
    if size := run.setting("data", "crop_size"):
        how.append(f"crops of {size[0]}×{size[1]}")
    if precision := run.setting("trainer", "precision"):
        how.append(f"precision {precision}")
    return (
        f"<p><b>{len(rows) / sum(seconds):.2f} images/s</b> {escape(', '.join(['over the whole training', *how]))}; "
        f"<b>{waited:.2%}</b> of that time waited for data. Validation is not counted.</p>"
    )


def class_section(run: Run) -> str:
    """A bar for each class, in the order of the data set; empty before the first validation."""
    best = run.log.best
    if best is None or not run.classes:
        return ""
    shares = [entry.share for entry in run.classes if entry.share]
    rows = []
    for entry in run.classes:
        value, kind, bar = "not logged", "absent", ""
        if entry.iou is not None and math.isnan(entry.iou):
            value = "does not occur"
        elif entry.iou is not None:
            value = f"{entry.iou:.4f}"
            kind = "least" if shares and entry.share == min(shares) else "present"
            bar = f'<i style="width:{100 * entry.iou:.2f}%;background:{rgb(entry)}"></i>'
        bar += f'<u style="left:{100 * best["val/miou"]:.2f}%"></u>'
        share = f'<td class="number">{"" if entry.share is None else percent(entry.share)}</td>' if shares else ""
        rows.append(
            f'<tr class="{kind}"><th scope="row">{swatch(entry)}{escape(entry.name)}</th>'
            f'<td><div class="bar">{bar}</div></td><td class="number">{value}</td>{share}</tr>'
        )
    head = '<th scope="col">class</th><th scope="col">0 to 1; dashed: the mean</th>'
    head += '<th scope="col" class="number">IoU</th>'
    head += '<th scope="col" class="number">pixels</th>' if shares else ""
    notes = []
    if any(entry.iou is not None and math.isnan(entry.iou) for entry in run.classes):
        notes.append("The mean leaves out classes that neither occur in the labels nor are predicted.")
    if shares:
        notes.append(f"Pixels: share of the labelled pixels, {run.shares_note}.")
    if run.card is None:
        notes.append("Without a checkpoint the classes are in the order of the alphabet, in colours made up here.")
    return (
        '<section><h2>IoU of each class</h2><div class="scroll"><table class="classes">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        f'<p class="soft">At the best validation, step {best["step"]:.0f}. {escape(" ".join(notes))}</p></section>'
    )
