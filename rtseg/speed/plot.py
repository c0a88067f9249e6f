"""A report drawn: multiply-adds of a network against its latency, one colour for each engine."""

from rtseg.output.axis import Axis
from rtseg.output.chart import Chart, Series, draw
from rtseg.speed.report import NetworkReport, Report


def plot(report: Report) -> str | None:
    """The text of an SVG file; None where no row has both a time and a cost."""
    rows = [row for row in report.networks if row.class_map and row.macs]
    if not rows:
        return None
    series = []
    for engine in dict.fromkeys(row.backend for row in rows):
        own = [row for row in rows if row.backend == engine]
        tips = [f"{row.name}: {_place(row)[0]:.4g} ms, {_place(row)[1]:.3g} G" for row in own]
        series.append(Series(engine, [_place(row) for row in own], line=False, tips=tips))
    # A network's name stands once, beside its slowest dot.
    slowest = {(row.model, row.attention, row.weights, row.input_size): row for row in sorted(rows, key=_place)}
    chart = Chart(
        "Image → class map",
        Axis("latency of an image, ms (log)", log=True),
        Axis("multiply-adds of an image, 10^9", zero=True),
        series,
        labels=[(*_place(row), _label(row)) for row in slowest.values()],
        size=(510, 366),
    )
    return draw([chart])


def _place(row: NetworkReport) -> tuple[float, float]:
    """(ms of an image, 10^9 multiply-adds)."""
    assert row.class_map is not None
    assert row.macs is not None
    return row.class_map.median_ms / row.batch_size, row.macs / 1e9


def _label(row: NetworkReport) -> str:
    height, width = row.input_size
    return f"{row.network_name} {height}x{width}"
