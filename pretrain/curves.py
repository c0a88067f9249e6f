"""Loss and top-1 of several trainings over their steps, as one SVG file."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.charts import HEIGHT, WIDTH, Curve, drawing
from rtseg.output.folders import make_folder, write_whole
from rtseg.studies.report.metrics_log import MetricsLog, read_log

_COLOURS = ("#0b6fb8", "#c2410c", "#4d7c0f", "#7e22ce", "#5aa9e6", "#f0935a")
_PANELS = (("Training loss", "loss", "train/loss"), ("Validation top-1", "top-1", "val/top1"))
_TITLE = 44  # height of the line with title and legend
_STYLE = (
    "text{font:11px sans-serif;fill:#444} .grid{stroke:#ddd} .curve{fill:none;stroke-width:1.6} .band{opacity:.15}"
    ".title{font-weight:bold;font-size:13px}"
)


def draw(runs: Sequence[Path], output: Path) -> None:
    """Draws the logs of run folders.

    Args:
        runs: folders of `fit`, each a line by its name.
        output: .svg file.

    Raises:
        UserError: no log in a folder, too many of them, or another kind of file asked for.
    """
    if output.suffix != ".svg":
        raise UserError(f"'{output}' must end in .svg")
    if not 1 <= len(runs) <= len(_COLOURS):
        raise UserError(f"{len(runs)} runs: give one to {len(_COLOURS)} folders")
    logs = {}
    for run in runs:
        if not (run / "metrics.csv").is_file():
            raise UserError(f"'{run}' holds no metrics.csv: give the folder of a training (--output of fit)")
        logs[run.name] = read_log(run / "metrics.csv")
    if len(logs) < len(runs):
        raise UserError("two of the runs have the same folder name, by which the lines are told apart: rename one")
    make_folder(output.parent)
    write_whole(output, _page(logs))


def _page(logs: dict[str, MetricsLog]) -> str:
    styles = [f".c{i}{{stroke:{c};fill:{c}}} .curve.c{i}{{fill:none}}" for i, c in enumerate(_COLOURS)]
    last = max(log.last_step for log in logs.values())
    parts = []
    for i, (title, unit, column) in enumerate(_PANELS):
        curves = [Curve(name, log.points(column), f"c{k}") for k, (name, log) in enumerate(logs.items())]
        panel = drawing(title, unit, [curve for curve in curves if curve.points], last=last)
        legend = "".join(
            f'<text x="{150 + 80 * k}" y="16" class="c{k}" style="stroke:none">{escape(name)}</text>'
            for k, name in enumerate(logs)
        )
        place = f'<svg x="0" y="{_TITLE - 20}" width="{WIDTH}" height="{HEIGHT}"'
        parts.append(
            f'<g transform="translate({i * (WIDTH + 20)},0)"><text class="title" x="0" y="16">{escape(title)}</text>'
            f"{legend}{panel.replace('<svg', place, 1)}</g>"
        )
    width, height = len(_PANELS) * (WIDTH + 20), HEIGHT + _TITLE - 20
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f"<style>{_STYLE}{''.join(styles)}</style>"
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
