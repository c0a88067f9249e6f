"""Charts as SVG: lines, dots and bands over two axes, several to a file or one inside a page.

They need no library, no script and no request, and follow light and dark by themselves.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from html import escape

from rtseg.output.axis import Axis, Scale
from rtseg.terminal import visible

GREY = 8  # the last colour
_LIGHT = ("#0b6fb8", "#c2410c", "#4d7c0f", "#7e22ce", "#3d8fcf", "#d96a1d", "#0f766e", "#be185d", "#6b7280")
_DARK = ("#6db6f2", "#ff9a66", "#a3d65c", "#c99bff", "#3f87c9", "#c96a2b", "#4fd1c0", "#ff7fb5", "#9aa6b0")
_MOST = 240  # points of one line; more are drawn as the means of neighbours within the band of their range
_CHARACTER, _LINE, _ROW, _GAP = 7.0, 16, 22, 18  # pixels: of text, of a row of names, between charts
_SAMPLE = 24  # pixels of a line in the legend, so that its dashes show
_DASHES = ("none", "7 4", "2 3", "9 3 2 3")  # of the first line of a chart, the second, ...: colour alone tells too few

STYLE = (
    ".chart{font:12px system-ui,'Helvetica Neue',Arial,sans-serif}"
    ".chart text{fill:#444}.chart .title{font-size:13px;font-weight:600;fill:#14191d}.chart .ground{fill:#fff}"
    ".chart .grid{stroke:#ddd}.chart .line{fill:none;stroke:currentColor;stroke-width:1.8;stroke-linejoin:round}"
    ".chart .band{fill:currentColor;opacity:.18}.chart .dot{fill:currentColor}"
    ".chart .ring{fill:none;stroke:currentColor;stroke-width:2}.chart .mark{fill:none;stroke:#b07d00;stroke-width:2.5}"
    + "".join(f".chart .d{i}{{stroke-dasharray:{dash}}}" for i, dash in enumerate(_DASHES))
    + "".join(f".chart .c{i}{{color:{color}}}" for i, color in enumerate(_LIGHT))
    + "@media (prefers-color-scheme:dark){.chart text{fill:#b6c0c8}.chart .title{fill:#e9edf0}"
    ".chart .ground{fill:#12161a}.chart .grid{stroke:#2c343b}.chart .mark{stroke:#ffcb2e}"
    + "".join(f".chart .c{i}{{color:{color}}}" for i, color in enumerate(_DARK))
    + "}"
)
"""The style sheet of all charts: a file has it inside, a page takes it once for those in it."""


@dataclass(frozen=True)
class Series:
    """A line or a set of dots with one colour and one name in the legend.

    Attributes:
        points: (x, y); those that an axis does not show are left out.
        line, dots: how they are drawn; a line of one point is a dot.
        hollow: dots are rings.
        tips: what a dot says when pointed at, one a point; none for its values.
        color: index of a colour; None for the next one.
        dash: index of a pattern; None for that of the next line.
    """

    name: str
    points: Sequence[tuple[float, float]]
    line: bool = True
    dots: bool = False
    hollow: bool = False
    tips: Sequence[str] = ()
    color: int | None = None
    dash: int | None = None


@dataclass(frozen=True)
class Chart:
    """Series over a pair of axes.

    Attributes:
        marks: (x, y, text): a ring with a text beside it. Marks that an axis does not show are left out.
        labels: (x, y, text): a text to the right of the point; lower ones make way. They are left out as marks are.
        size: (width, height) in pixels within the axes. On an axis with names each name takes a row instead.
    """

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[tuple[float, float, str]] = ()
    labels: Sequence[tuple[float, float, str]] = ()
    size: tuple[int, int] = (350, 210)

    def _shows(self, x: float, y: float) -> bool:
        return self.x.shows(x) and self.y.shows(y)

    def texts(self, placed: Sequence[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
        """The `marks` or `labels` that the axes show."""
        return [(x, y, text) for x, y, text in placed if self._shows(x, y)]

    @property
    def shown(self) -> list[Series]:
        """The series that have something to draw, without what the axes do not show; colours and dashes decided."""
        found: list[Series] = []
        for i, series in enumerate(self.series):
            kept = [k for k, (x, y) in enumerate(series.points) if self._shows(x, y)]
            points, tips = [series.points[k] for k in kept], [series.tips[k] for k in kept if series.tips]
            color = (i if series.color is None else series.color) % len(_LIGHT)
            if points:
                dash = sum(other.line for other in found) if series.dash is None else series.dash
                found.append(replace(series, points=points, tips=tips, color=color, dash=dash % len(_DASHES)))
        return found


def draw(charts: Sequence[Chart], columns: int = 2) -> str:
    """The text of an SVG file with the charts row by row. Charts without a point are left out."""
    charts = [chart for chart in charts if chart.shown]
    rows = [charts[start : start + columns] for start in range(0, len(charts), columns)]
    # The axes of a row begin at one height, so that names beside its first chart are those of the next.
    drawn = [[_draw(chart, max(map(_top, row))) for chart in row] for row in rows]
    widths = [
        max(size[0] for _, size in column) + _GAP
        for column in itertools.zip_longest(*drawn, fillvalue=("", (0.0, 0.0)))
    ]
    parts, y = [], 0.0
    for row in drawn:
        for i, (inside, _) in enumerate(row):
            parts.append(f'<g transform="translate({sum(widths[:i]):g},{y:g})">{inside}</g>')
        y += max(size[1] for _, size in row)
    width = sum(widths)
    size = f'viewBox="0 0 {width:g} {y:g}" width="{width:g}" height="{y:g}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" {size}><style>{STYLE}</style>'
        f'<rect class="ground" width="100%" height="100%"/>{"".join(parts)}</svg>\n'
    )


def inline(chart: Chart) -> str:
    """One chart as an `svg` element for a page that has `STYLE`; empty where it has no point."""
    if not chart.shown:
        return ""
    inside, (width, height) = _draw(chart, _top(chart))
    label = f'role="img" aria-label="{_text(chart.title)}"'
    return f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" {label}>{inside}</svg>'


def _draw(chart: Chart, top: float) -> tuple[str, tuple[float, float]]:
    """The elements of a chart whose axes begin `top` pixels down, and its size."""
    shown = chart.shown
    x_scale = chart.x.scale([x for series in shown for x, _ in series.points])
    y_scale = chart.y.scale([y for series in shown for _, y in series.points])
    width, height = chart.size[0], _ROW * len(chart.y.names) or chart.size[1]
    left = 12 + max(_width(text) for _, text in y_scale.ticks)
    right = max([12.0, *(_width(text) + 10 for _, _, text in chart.texts(chart.labels))])
    bottom = _LINE * (1 + bool(chart.x.label)) + 8

    def at_x(x: float) -> float:
        return round(left + width * x_scale.share(x), 1)

    def at_y(y: float) -> float:
        return round(top + height * (1 - y_scale.share(y)), 1)

    parts = [f'<text class="title" x="2" y="14">{_text(chart.title)}</text>', *_legend(chart)]
    if chart.y.label:
        parts.append(f'<text x="2" y="{top - 8:g}">{_text(chart.y.label)}</text>')
    parts += _grid(chart, x_scale, y_scale, at_x, at_y, (left, top, width, height))
    for series in shown:
        parts += _series(series, at_x, at_y)
    for x, y, text in chart.texts(chart.marks):
        beside, anchor = (-10, "end") if x_scale.share(x) > 0.6 else (10, "start")
        parts.append(f'<circle class="mark" cx="{at_x(x)}" cy="{at_y(y)}" r="5.5"/>')
        parts.append(f'<text x="{at_x(x) + beside}" y="{at_y(y) - 10}" text-anchor="{anchor}">{_text(text)}</text>')
    parts += _labels([(at_x(x), at_y(y), text) for x, y, text in chart.texts(chart.labels)])
    return "".join(parts), (left + width + right, top + height + bottom)


def _grid(
    chart: Chart,
    x_scale: Scale,
    y_scale: Scale,
    at_x: Callable[[float], float],
    at_y: Callable[[float], float],
    area: tuple[float, float, float, float],
) -> list[str]:
    """A line and a text for each tick, and the name of the horizontal axis."""
    left, top, width, height = area
    parts = []
    for tick, text in y_scale.ticks:
        y = at_y(tick)
        parts.append(f'<line class="grid" x1="{left:g}" x2="{left + width:g}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{left - 6:g}" y="{y + 4:g}" text-anchor="end">{_text(text)}</text>')
    for tick, text in x_scale.ticks:
        x = at_x(tick)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{top:g}" y2="{top + height:g}"/>')
        parts.append(f'<text x="{x}" y="{top + height + _LINE:g}" text-anchor="middle">{_text(text)}</text>')
    if chart.x.label:
        place = f'x="{left + width / 2:g}" y="{top + height + 2 * _LINE:g}" text-anchor="middle"'
        parts.append(f"<text {place}>{_text(chart.x.label)}</text>")
    return parts


def _series(series: Series, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> list[str]:
    parts = []
    if series.line:
        groups = _groups(series.points)
        if len(groups) < len(series.points):
            upper = [f"{at_x(x)},{at_y(high)}" for x, _, _, high in groups]
            lower = [f"{at_x(x)},{at_y(low)}" for x, _, low, _ in reversed(groups)]
            parts.append(f'<polygon class="band c{series.color}" points="{" ".join(upper + lower)}"/>')
        line = " ".join(f"{at_x(x)},{at_y(mean)}" for x, mean, _, _ in groups)
        parts.append(f'<polyline class="line c{series.color} d{series.dash}" points="{line}"/>')
    if series.dots or not series.line or len(series.points) == 1:
        tips = series.tips or [f"{series.name}, {x:g}: {y:.4g}" for x, y in series.points]
        kind = "ring" if series.hollow else "dot"
        for (x, y), tip in zip(series.points, tips, strict=True):
            place = f'class="{kind} c{series.color}" cx="{at_x(x)}" cy="{at_y(y)}" r="{3 if series.line else 4}"'
            parts.append(f"<circle {place}><title>{_text(tip)}</title></circle>")
    return parts


def _legend(chart: Chart) -> list[str]:
    """Below the title: each series as it is drawn, with its colour, dashes and dots, and its name."""
    parts = []
    for series, (x, line) in zip(chart.shown, _legend_places(chart), strict=True):
        y = 20 + _LINE * line
        if series.line:
            ends = f'x1="{x:g}" x2="{x + _SAMPLE:g}" y1="{y + 8}" y2="{y + 8}"'
            parts.append(f'<line class="line c{series.color} d{series.dash}" {ends}/>')
        if series.dots or not series.line:
            kind, radius = "ring" if series.hollow else "dot", 3 if series.line else 4
            at = x + _sample(series) / 2
            parts.append(f'<circle class="{kind} c{series.color}" cx="{at:g}" cy="{y + 8}" r="{radius}"/>')
        name = _fitting(chart, series)
        whole = f"<title>{_text(series.name)}</title>" if name != series.name else ""
        parts.append(f'<text x="{x + _sample(series) + 5:g}" y="{y + 12}">{_text(name)}{whole}</text>')
    return parts


def _legend_places(chart: Chart) -> list[tuple[float, int]]:
    """(x, line) of each name of the legend, as many to a line as the chart is wide."""
    places, x, line = [], 2.0, 0
    for series in chart.shown:
        wide = _sample(series) + 5 + _width(_fitting(chart, series)) + 14
        if x > 2 and x + wide > chart.size[0] + 60:
            x, line = 2.0, line + 1
        places.append((x, line))
        x += wide
    return places


def _sample(series: Series) -> int:
    """Pixels that a series takes in the legend."""
    return _SAMPLE if series.line else 12


def _fitting(chart: Chart, series: Series) -> str:
    """The name of a series, cut where it is wider than the chart."""
    most = max(8, int((chart.size[0] - _SAMPLE) / _CHARACTER))
    return series.name if len(series.name) <= most else f"{series.name[: most - 1]}…"


def _top(chart: Chart) -> float:
    """Pixels above the axes: title, legend, and the name of the vertical axis."""
    return 20 + _LINE * (1 + max(line for _, line in _legend_places(chart))) + _LINE * bool(chart.y.label) + 10


def _labels(places: Sequence[tuple[float, float, str]]) -> list[str]:
    """Texts beside points; where two would meet, the lower one moves down."""
    parts = []
    taken: list[float] = []
    for x, y, text in sorted(places, key=lambda place: place[1]):
        while any(abs(y - other) < 13 for other in taken):
            y += 2
        taken.append(y)
        parts.append(f'<text x="{x + 8:g}" y="{y + 4:g}">{_text(text)}</text>')
    return parts


def _groups(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """(x, mean, lowest, highest) of neighbouring points, at most `_MOST`."""
    size = -(-len(points) // _MOST)
    groups = []
    for start in range(0, len(points), size):
        xs, ys = zip(*points[start : start + size], strict=True)
        groups.append((sum(xs) / len(xs), sum(ys) / len(ys), min(ys), max(ys)))
    return groups


def _width(text: str) -> float:
    """The width of a text in pixels, about."""
    return _CHARACTER * len(text)


def _text(text: str) -> str:
    """Escaped, control characters shown: XML knows no way to write them."""
    return escape(visible(text))
