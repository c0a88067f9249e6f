"""The page of a run: one script of its own, no library, no font, no request. The sections are templates beside it.

Script and style begin with those of `rtseg page`: its viewer, and what the two have alike. The page lets the browser
run that script alone, known by its hash: a name that got into the page as HTML would still not run.
"""

import base64
import hashlib
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml
from markupsafe import Markup

from rtseg.output.chart import STYLE
from rtseg.output.page import drawing, render
from rtseg.page.network import STATIC
from rtseg.studies.report import accuracy, pictures
from rtseg.studies.report.figures import percent
from rtseg.studies.report.full_scores import full_scores
from rtseg.studies.report.run_folder import Run
from rtseg.studies.report.speed import Speed, speed


def page(run: Run) -> str:
    """The HTML of a run's report."""
    commands = _commands(run)
    best = run.log.best
    script = _texts(STATIC / "viewer.js", Path(__file__).with_name("pictures.js"))
    measured = speed(run)
    return render(
        Path(__file__).with_name("page.html"),
        run=run,
        title=" ".join(filter(None, (run.model, run.attention, "on", run.origin or run.dataset))),
        chart_style=Markup(STYLE),
        style=Markup(_texts(STATIC / "base.css", STATIC / "viewer.css")),
        script=Markup(script),
        script_hash=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        percent=percent,
        one_line=_one_line,
        conditions=_conditions(run),
        cautions=_cautions(run, measured),
        miou=accuracy.best_miou(run),
        figures=accuracy.figures(run),
        speed=measured,
        validation=pictures.validation(run),
        overlays=pictures.overlays(run),
        charts=[drawing(chart) for chart in accuracy.curves(run)],
        curve_notes=accuracy.curve_notes(run),
        throughput=accuracy.throughput(run),
        class_rows=accuracy.class_rows(run),
        class_notes=accuracy.class_notes(run),
        full_scores=full_scores(run),
        mean=100 * best["val/miou"] if best else 0,
        left_out=_left_out(run, commands),
        commands="\n".join(commands.values()),
        config=yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
    )


def _texts(*files: Path) -> str:
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _one_line(name: str) -> str:
    """A name of a file or class, whose line breaks are written as escapes."""
    return name.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")


def _conditions(run: Run) -> dict[str, str | None]:
    """What the score holds for."""
    root = run.setting("data", "root")
    return {
        "images": run.origin,
        "data set": run.dataset,
        "data in": None if root is None else str(root),
        "run folder": str(run.folder),
        "progress": _progress(run),
        "page written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cautions(run: Run, measured: Speed | None) -> list[str]:
    """What a reader of the figures should know, beside what stands at the figures."""
    found = []
    if run.origin is None:
        found.append(
            f"The data do not say where their images come from: '{run.dataset}' is how they are laid out and labelled."
        )
    else:
        found.append(f"The score holds for images of this kind ({run.origin}), and tells little about others.")
    if run.log.best is not None:
        found.append("The score is that of the best validation, chosen by the same images: it flatters a little.")
    return [*found, *(f"Speed: {caution}." for caution in (measured.cautions if measured else ()))]


def _progress(run: Run) -> str:
    progress = f"last logged step {run.log.finished_steps:.0f}"
    epochs = [row["epoch"] for row in run.log.rows if "epoch" in row]
    if epochs:
        of = run.setting("trainer", "max_epochs")
        progress += f", epoch {max(epochs) + 1:.0f}" + (f" of {of}" if isinstance(of, int) and of > 0 else "")
    return progress


def _commands(run: Run) -> dict[str, str]:
    """The commands that can be run with the files of the folder."""
    config, benchmark, predictions, film, folder, again = (
        shlex.quote(str(path))
        for path in (
            run.folder / "config.yaml",
            run.folder / "benchmark.json",
            run.folder / "predictions",
            run.folder / "film",
            run.folder / "page",
            run.folder.with_name(f"{run.folder.name}_again"),
        )
    )
    commands = {}
    if run.config:
        new = " --ckpt_path null" if run.setting("ckpt_path") else ""
        commands["train"] = f"rtseg fit --config {config} --output {again}{new}"
    if run.checkpoint:
        checkpoint = shlex.quote(str(run.checkpoint))
        height, width = run.input_size or (512, 512)
        if run.config:
            scores = shlex.quote(str(run.folder / "scores.json"))
            commands["score"] = f"rtseg validate --config {config} --ckpt_path {checkpoint} -o {scores}"
        commands["time"] = f"rtseg benchmark {checkpoint} --input-size {height} {width} -o {benchmark}"
        commands["predict"] = f"rtseg predict {checkpoint} IMAGES -o {predictions}"
        if run.card is not None and run.card.channels is None:
            commands["film"] = f"rtseg predict {checkpoint} film.mp4 -o {film}"
            commands["page"] = f"rtseg page {checkpoint} -o {folder}"
    return commands | {"report": f"rtseg report {shlex.quote(str(run.folder))}"}


def _left_out(run: Run, commands: Mapping[str, str]) -> list[tuple[str, str]]:
    """What this page could show as well, each with the command that makes it."""
    missing = []
    if run.checkpoint is None:
        missing.append(("No best.ckpt or last.ckpt: colours, parameters and multiply-adds are unknown.", ""))
    if run.log.best is None:
        missing.append(
            (
                "No validation in metrics.csv: mIoU and the IoU of each class come with the first one "
                "(trainer.check_val_every_n_epoch, trainer.val_check_interval).",
                "",
            )
        )
    if run.picture is None:
        missing.append(("No pictures/step_*.jpg: the training writes one at every validation.", ""))
    if run.classes and not any(entry.share for entry in run.classes):
        missing.append((f"No share of the pixels for each class: {run.shares_note}.", ""))
    for what, present, name in (
        ("scores.json: the worst images and the confusion matrix", run.scores is not None, "score"),
        ("benchmark.json", run.benchmark is not None, "time"),
        ("overlays in predictions/", bool(run.overlays), "predict"),
    ):
        if not present:
            missing.append(
                (f"No {what}:" + " this needs a checkpoint." * (name not in commands), commands.get(name, ""))
            )
    return missing
