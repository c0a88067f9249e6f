"""`rtseg report`: one HTML page of a training, complete in itself: no script, no font, no request."""

import shlex
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template

import yaml

from rtseg.errors import UserError
from rtseg.output.chart import STYLE
from rtseg.output.folders import make_folder, write_whole
from rtseg.studies.report.accuracy import accuracy_headline, class_section, class_strip, curve_section
from rtseg.studies.report.pictures import picture_section
from rtseg.studies.report.run_folder import Run, read_run
from rtseg.studies.report.speed import speed_headline, speed_section


def write_report(run: Path, output: Path | None = None) -> Path:
    """Writes the page. What the folder does not hold is left out, and the page says how to make it.

    A report that exists is written anew: everything in it comes from the run.

    Args:
        run: folder that `rtseg fit --output` wrote; may still be training.
        output: the HTML file; None for report.html in the run's folder.

    Returns:
        The file written.

    Raises:
        UserError: `run` is no run folder, a file in it is damaged, or `output` is a folder or cannot be written.
    """
    run = Path(run)
    output = run / "report.html" if output is None else Path(output)
    found = read_run(run)
    make_folder(output.parent)
    if output.is_dir():
        raise UserError(f"'{output}' is a folder; give the name of a file, such as '{output / 'report.html'}'")
    write_whole(output, _page(found))
    return output


def _page(run: Run) -> str:
    sections = [
        _header(run),
        picture_section(run),
        curve_section(run),
        class_section(run),
        speed_section(run),
        _left_out(run),
        _reproduce(run),
    ]
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    title = escape(" ".join(filter(None, (run.model, run.attention, "on", run.dataset))))
    return template.substitute(title=title, charts=STYLE, body="\n".join(filter(None, sections)))


def _header(run: Run) -> str:
    progress = f"last logged step {run.log.last_step:.0f}"
    epochs = [row["epoch"] for row in run.log.rows if "epoch" in row]
    if epochs:
        of = run.setting("trainer", "max_epochs")
        progress += f", epoch {max(epochs) + 1:.0f}" + (f" of {of}" if isinstance(of, int) and of > 0 else "")
    root = run.setting("data", "root")
    data = f" (data in <code>{escape(str(root))}</code>)" if root else ""
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    attention = f" <small>{escape(run.attention)}</small>" if run.attention else ""
    return (
        f"<header><h1>{escape(run.model)}{attention}</h1>"
        f'<p class="byline">Trained on {escape(run.dataset)}{data}; {progress}.<br>'
        f"Run folder <code>{escape(str(run.folder))}</code>, page written {written}.</p>{class_strip(run.classes)}"
        f'<div class="headline"><div>{accuracy_headline(run)}</div>{speed_headline(run)}</div></header>'
    )


def _commands(run: Run) -> dict[str, str]:
    """What can be done with what the folder holds."""
    config, benchmark, predictions, again = (
        shlex.quote(str(path))
        for path in (
            run.folder / "config.yaml",
            run.folder / "benchmark.json",
            run.folder / "predictions",
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
            commands["score"] = f"rtseg validate --config {config} --ckpt_path {checkpoint}"
        commands["time"] = f"rtseg benchmark {checkpoint} --input-size {height} {width} -o {benchmark}"
        commands["predict"] = f"rtseg predict {checkpoint} IMAGES -o {predictions}"
    return commands | {"report": f"rtseg report {shlex.quote(str(run.folder))}"}


def _left_out(run: Run) -> str:
    """What this page could also show, and how to come by it."""
    commands = _commands(run)
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
        ("benchmark.json", run.benchmark is not None, "time"),
        ("overlays in predictions/", bool(run.overlays), "predict"),
    ):
        if not present:
            missing.append(
                (f"No {what}:" + " this needs a checkpoint." * (name not in commands), commands.get(name, ""))
            )
    items = "".join(f"<li>{escape(what)} {f'<code>{escape(how)}</code>' if how else ''}</li>" for what, how in missing)
    return f'<section><h2>Not shown here</h2><ul class="left-out">{items}</ul></section>' if items else ""


def _reproduce(run: Run) -> str:
    commands = "\n".join(_commands(run).values())
    commit = run.benchmark.conditions["git_commit"] if run.benchmark else None
    at = f"<p>The benchmark ran at commit <code>{escape(commit)}</code>.</p>" if commit else ""
    config = ""
    if run.config:
        text = escape(yaml.safe_dump(run.config, sort_keys=False))
        config = f"<details><summary>config.yaml, every setting of the run</summary><pre>{text}</pre></details>"
    return f"<section><h2>Do it again</h2>{at}<pre>{escape(commands)}</pre>{config}</section>"
