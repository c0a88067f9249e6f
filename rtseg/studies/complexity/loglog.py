"""Line charts with two logarithmic axes, several to a picture, as one SVG file that needs no style sheet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 460, 320  # of one chart
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 62, 46
_COLOURS = ("#0b6fb8", "#c2410c", "#5aa9e6", "#f0935a", "#4d7c0f", "#7e22ce")


@dataclass(frozen=True)
class Chart:
    """Lines over one pair of axes.

    Attributes:
        lines: name -> points (x, y), all above 0.
        x_label, y_label: of the axes, with units.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


def draw(charts: Sequence[Chart], columns: int = 2) -> str:
    """The charts row by row, as the text of an SVG file."""
    rows = -(-len(charts) // columns)
    width, height = _WIDTH * min(columns, len(charts)), _HEIGHT * rows
    parts = [
        f'<g transform="translate({_WIDTH * (i % columns)},{_HEIGHT * (i // columns)})">{_chart(chart)}</g>'
        for i, chart in enumerate(charts)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _chart(chart: Chart) -> str:
    points = [point for line in chart.lines.values() for point in line]
    xs, ys = sorted({x for x, _ in points}), [y for _, y in points]
    low = math.floor(math.log10(min(ys)))
    high = max(low + 1, math.ceil(math.log10(max(ys))))

    def at_x(x: float) -> float:
        share = math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) if len(xs) > 1 else 0.5
        return round(_LEFT + 10 + (_WIDTH - _LEFT - _RIGHT - 20) * share, 1)

    def at_y(y: float) -> float:
        return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (math.log10(y) - low) / (high - low), 1)

    parts = [f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold">{escape(chart.title)}</text>']
    for power in range(low, high + 1):
        y = at_y(10.0**power)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{10.0**power:g}</text>')
    for x in xs:
        parts.append(f'<text x="{at_x(x)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{x:g}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(chart.x_label)}</text>')
    upright = f'transform="rotate(-90 14 {_HEIGHT / 2})" x="14" y="{_HEIGHT / 2}" text-anchor="middle"'
    parts.append(f"<text {upright}>{escape(chart.y_label)}</text>")
    beside = 2 if max(map(len, chart.lines)) < 30 else 1  # names in a row of the legend
    for i, (name, line) in enumerate(chart.lines.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        x, y = _LEFT + 190 * (i % beside), 32 + 14 * (i // beside)
        parts.append(f'<rect x="{x}" y="{y - 4}" width="14" height="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 19}" y="{y + 1}">{escape(name)}</text>')
        path = " ".join(f"{at_x(px)},{at_y(py)}" for px, py in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for px, py in line:
            tip = f"<title>{escape(name)}, {px:g}: {py:.4g}</title>"
            parts.append(f'<circle cx="{at_x(px)}" cy="{at_y(py)}" r="3" fill="{colour}">{tip}</circle>')
    return "".join(parts)
