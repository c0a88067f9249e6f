"""A comparison drawn: the rows below each other, a dot for each figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.output.axis import Axis
from rtseg.output.chart import Chart, Series, draw

_HERE, _ALONE, _BEST, _PAPER = 0, 4, 2, 1  # colours
_LONGEST = 80  # characters of a name beside the axis


def plot(rows: Sequence[Mapping[str, Any]]) -> str:
    """The text of an SVG file: speed relative to the baseline, here and in the paper; then mIoU, measured if there is
    any, else the paper's.

    Args:
        rows: of `Comparison.to_dict()`.
    """
    names = [_short(row["name"]) for row in rows]
    papers = [row["paper"] or {} for row in rows]
    speeds = [
        _dots("image → class map, here", _HERE, [[row["fps_ratio"]["class_map"]] for row in rows]),
        _dots("network alone, here", _ALONE, [[row["fps_ratio"]["network"]] for row in rows]),
        _dots("image → class map, best engine here", _BEST, [[row["fps_ratio"].get("best_class_map")] for row in rows]),
        _dots("the paper", _PAPER, [[paper.get("fps_ratio")] for paper in papers], hollow=True),
    ]
    trained = [row["trained"]["seeds"].values() if row["trained"] else () for row in rows]
    if any(trained):
        title, scores = "mIoU, trained here", _dots("one seed", _HERE, [[s["miou"] for s in own] for own in trained])
    else:
        title = "mIoU (%) on ADE20K"
        scores = _dots("the paper", _PAPER, [[paper.get("miou")] for paper in papers], hollow=True)
    # A chart without a dot is left out, and with it its names: that of speeds where ratios are withheld.
    beside = [""] * len(rows) if any(series.points for series in speeds) else names
    charts = [
        Chart("FPS / FPS of the baseline", Axis(), Axis(names=names), speeds, size=(300, 0)),
        Chart(title, Axis(), Axis(names=beside), [scores], size=(300, 0)),
    ]
    return draw(charts)


def _dots(name: str, color: int, values: Sequence[Sequence[float | None]], *, hollow: bool = False) -> Series:
    """Values of each row, where there are any."""
    points = [(value, float(i)) for i, own in enumerate(values) for value in own if value is not None]
    tips = [f"{name}: {value:.4g}" for value, _ in points]
    return Series(name, points, line=False, hollow=hollow, tips=tips, color=color)


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def plot_insertions(rows: Sequence[Mapping[str, Any]], shown: Mapping[str, str]) -> str:
    """The text of an SVG file: the multiply-adds that each row adds, then each score that was trained.

    Args:
        rows: of `InsertionReport.to_dict()`.
        shown: name of a score -> its heading.
    """
    names = [_short(row["name"]) for row in rows]
    added = [[macs / 1e9] if (macs := row["added"]["macs"]) is not None else [] for row in rows]
    charts = [Chart("added multiply-adds, G", Axis(), Axis(names=names), [_dots("here", _HERE, added)], size=(300, 0))]
    for name, heading in shown.items():
        scores = [[s[name] for s in row["trained"]["seeds"].values()] if row["trained"] else [] for row in rows]
        dots = _dots("one seed", _HERE, scores)
        charts.append(Chart(f"{heading}, trained here", Axis(), Axis(names=[""] * len(rows)), [dots], size=(300, 0)))
    return draw(charts, columns=len(charts))
