"""Loss and top-1 of several trainings over their steps, as one SVG file."""

from collections.abc import Sequence
from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.axis import Axis
from rtseg.output.chart import Chart, Series
from rtseg.output.chart import draw as draw_charts
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_target
from rtseg.studies.runs.metrics_log import read_log

_PANELS = (("Training loss", "loss", "train/loss"), ("Validation top-1", "top-1", "val/top1"))
_MOST = 6  # lines that can be told apart


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
    if not 1 <= len(runs) <= _MOST:
        raise UserError(f"{len(runs)} runs: give one to {_MOST} folders")
    logs = {}
    for run in runs:
        if not (run / "metrics.csv").is_file():
            raise UserError(f"'{run}' does not contain a metrics.csv: give the folder of a training (--output of fit)")
        logs[run.name] = read_log(run / "metrics.csv")
    if len(logs) < len(runs):
        raise UserError("two of the runs have the same folder name, by which the lines are told apart: rename one")
    last = max(log.last_step for log in logs.values())
    charts = [
        Chart(
            title,
            Axis("step", zero=True, until=last),
            Axis(label, zero=True),
            [Series(name, log.points(column)) for name, log in logs.items()],
        )
        for title, label, column in _PANELS
    ]
    with locked_target(output):
        write_whole(output, draw_charts(charts))
