"""Figures 4 and 5 of the paper drawn, then what was measured: memory left, compute or time right."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.output.axis import Axis
from rtseg.output.chart import Chart, Series, draw

_NAMES = {"CA-dot": "conventional", "FA-dot": "factorized", "CA-Tfm": "conventional", "FA-Tfm": "factorized"}
Lines = Mapping[str, Sequence[tuple[float, float]]]


def plot(result: Mapping[str, Any]) -> str:
    """The text of an SVG file.

    Args:
        result: what complexity.json holds.
    """
    drawn = []
    for title, key, unit in (("memory", "bytes", "GB"), ("compute", "macs", "GMAC")):
        lines: dict[str, list[tuple[float, float]]] = {}
        for row in result["figure4"]:
            lines.setdefault(_NAMES[row["module"]], []).append((row["side"], row[key] / 1e9))
        drawn.append(_chart(f"Figure 4: {title}, 64 channels", "side of the square map", unit, lines))
    for title, key, unit in (("memory", "bytes", "GB"), ("compute", "macs", "GMAC")):
        lines = {}
        for row in result["figure5"]:
            if row["f"] == 1:
                name = f"{row['model']}, {_NAMES[row['module']]}"
                lines.setdefault(name, []).append((row["length"], row[key] / 1e9))
        drawn.append(_chart(f"Figure 5: {title} of a BERT", "length of the sequence", unit, lines))
    if result["measured"]:
        drawn += _measured(result["measured"]["growth"])
    return draw(drawn)


def _measured(growths: Sequence[Mapping[str, Any]]) -> list[Chart]:
    charts = []
    for title, key, exponent, unit, scale in (
        ("memory", "floats", "memory_exponent", "GB", 0.25e9),
        ("time", "median_ms", "time_exponent", "ms", 1),
    ):
        lines = {
            f"{growth['attention']}, tokens^{growth[exponent]:.2f}": [
                (tokens**0.5, value / scale) for tokens, value in zip(growth["tokens"], growth[key], strict=True)
            ]
            for growth in growths
        }
        charts.append(_chart(f"Measured: {title}, 64 channels", "side of the square map", unit, lines))
    return charts


def _chart(title: str, x_label: str, y_label: str, lines: Lines) -> Chart:
    ticks = sorted({x for points in lines.values() for x, _ in points})
    series = [Series(name, points, dots=True) for name, points in lines.items()]
    return Chart(title, Axis(x_label, log=True, ticks=ticks), Axis(y_label, log=True), series)
