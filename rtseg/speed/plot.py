"""A report as a picture: multiply-adds of a network against its latency, one colour for each engine."""

import math
from html import escape

from rtseg.output.charts import round_ticks
from rtseg.speed.benchmark import NetworkReport, Report

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 480, 60, 190, 64, 50
_BESIDE = 5  # engines in a row of the legend
_COLOURS = ("#444444", "#0b6fb8", "#c2410c", "#4d7c0f", "#7e22ce", "#b45309", "#0f766e", "#be185d")


def draw(report: Report) -> str | None:
    """The text of an SVG file; None where no row has both a time and a cost."""
    rows = [row for row in report.networks if row.class_map and row.macs]
    if not rows:
        return None
    engines = list(dict.fromkeys(row.backend for row in rows))
    latencies, costs = [_latency(row) for row in rows], [_cost(row) for row in rows]
    low, high = 10 ** math.floor(math.log10(min(latencies))), 10 ** math.ceil(math.log10(max(latencies)) + 1e-9)
    most = 1.08 * max(costs)

    def at_x(latency: float) -> float:
        share = math.log(latency / low) / math.log(high / low)
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * share, 1)

    def at_y(cost: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * cost / most, 1)

    parts = ['<text x="60" y="20" font-size="13" font-weight="bold">Picture → class map</text>']
    for tick in (
        step * 10**power for power in range(int(math.log10(low)), int(math.log10(high)) + 1) for step in (1, 2, 5)
    ):
        if low <= tick <= high:
            x = at_x(tick)
            parts.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#eee"/>')
            parts.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{tick:g}</text>')
    for tick in round_ticks(0, most):
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at_y(tick)}" y2="{at_y(tick)}" stroke="#eee"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{at_y(tick) + 4}" text-anchor="end">{tick:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">latency of a picture, ms (log)</text>')
    upright = f'transform="rotate(-90 14 {_HEIGHT / 2})" x="14" y="{_HEIGHT / 2}" text-anchor="middle"'
    parts.append(f"<text {upright}>multiply-adds of a picture, 10^9</text>")
    for row in rows:
        colour = _COLOURS[engines.index(row.backend) % len(_COLOURS)]
        tip = f"<title>{escape(row.name)}: {_latency(row):.4g} ms, {_cost(row):.3g} G</title>"
        parts.append(f'<circle cx="{at_x(_latency(row))}" cy="{at_y(_cost(row))}" r="4" fill="{colour}">{tip}</circle>')
    # A network's name stands once, beside its slowest dot; where two would meet, the lower one moves down.
    taken: list[float] = []
    slowest = {(row.model, row.attention, row.weights, row.input_size): row for row in sorted(rows, key=_latency)}
    for row in sorted(slowest.values(), key=_cost, reverse=True):
        y = at_y(_cost(row)) + 4
        while any(abs(y - other) < 12 for other in taken):
            y += 2
        taken.append(y)
        parts.append(f'<text x="{at_x(_latency(row)) + 8}" y="{y}">{escape(_label(row))}</text>')
    for i, engine in enumerate(engines):
        x, y = _LEFT + 5 + 130 * (i % _BESIDE), 36 + 14 * (i // _BESIDE)
        parts.append(f'<circle cx="{x}" cy="{y}" r="4" fill="{_COLOURS[i % len(_COLOURS)]}"/>')
        parts.append(f'<text x="{x + 10}" y="{y + 4}">{escape(engine)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _latency(row: NetworkReport) -> float:
    assert row.class_map is not None
    return row.class_map.median_ms / row.batch_size


def _cost(row: NetworkReport) -> float:
    assert row.macs is not None
    return row.macs / 1e9


def _label(row: NetworkReport) -> str:
    height, width = row.input_size
    return f"{row.network_name} {height}x{width}"
