"""A comparison as a picture: the rows below each other, a dot for each figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from rtseg.output.charts import round_ticks
from rtseg.studies.compare.report import Comparison

_NAMES, _PANEL, _GAP, _ROW = 220, 300, 40, 22  # widths and the height of a row, in pixels
_TOP, _BOTTOM = 80, 34
_HERE, _ALONE, _BEST, _PAPER = "#0b6fb8", "#5aa9e6", "#4d7c0f", "#c2410c"


@dataclass(frozen=True)
class _Panel:
    """Dots over one axis.

    Attributes:
        marks: kind of dot -> (colour, filled, one list of values a row).
    """

    title: str
    marks: Mapping[str, tuple[str, bool, Sequence[Sequence[float]]]]


def draw(comparison: Comparison) -> str:
    """The text of an SVG file: speed relative to the baseline, here and in the paper; then mIoU, measured if there is
    any, else the paper's.
    """
    rows = comparison.to_dict()["rows"]
    ratios = {
        figure: [[ratio] if (ratio := row["fps_ratio"][figure]) else [] for row in rows]
        for figure in ("class_map", "network", "best_class_map")
    }
    papers = [row["paper"] for row in rows]
    panels = [
        _Panel(
            "FPS / FPS of the baseline",
            {
                "picture → class map, here": (_HERE, True, ratios["class_map"]),
                "network alone, here": (_ALONE, True, ratios["network"]),
                "picture → class map, best engine here": (_BEST, True, ratios["best_class_map"]),
                "the paper": (_PAPER, False, [[p["fps_ratio"]] if p and p["fps_ratio"] else [] for p in papers]),
            },
        )
    ]
    if comparison.scores:
        trained = [row["trained"]["seeds"].values() if row["trained"] else () for row in rows]
        seeds = [[score["miou"] for score in own] for own in trained]
        panels.append(_Panel("mIoU, trained here", {"one seed": (_HERE, True, seeds)}))
    elif any(papers):
        panels.append(
            _Panel("mIoU (%) on ADE20K", {"the paper": (_PAPER, False, [[p["miou"]] if p else [] for p in papers])})
        )
    width = _NAMES + len(panels) * (_PANEL + _GAP)
    height = _TOP + _ROW * len(rows) + _BOTTOM
    parts = []
    for i, row in enumerate(rows):
        y = _at_row(i)
        parts.append(f'<line x1="{_NAMES}" x2="{width - _GAP}" y1="{y}" y2="{y}" stroke="#eee"/>')
        parts.append(f'<text x="{_NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(_short(row["name"]))}</text>')
    for i, panel in enumerate(panels):
        parts.append(_draw_panel(panel, _NAMES + i * (_PANEL + _GAP), len(rows)))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#333"><rect width="100%" height="100%" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _at_row(i: int) -> float:
    return _TOP + _ROW * (i + 0.5)


def _short(name: str) -> str:
    return name if len(name) <= 32 else name[:31] + "…"


def _draw_panel(panel: _Panel, left: float, rows: int) -> str:
    values = [value for _, _, lists in panel.marks.values() for own in lists for value in own]
    if not values:
        return ""
    margin = 0.08 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1
    low, high = min(values) - margin, max(values) + margin
    bottom = _TOP + _ROW * rows
    marks = {name: mark for name, mark in panel.marks.items() if any(mark[2])}
    parts = [f'<text x="{left}" y="16" font-size="13" font-weight="bold">{escape(panel.title)}</text>']

    def at_x(value: float) -> float:
        return round(left + _PANEL * (value - low) / (high - low), 1)

    for value in (tick for tick in round_ticks(low, high) if low <= tick <= high):
        x = at_x(value)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}" stroke="#eee"/>')
        parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{value:g}</text>')
    for i, (name, (colour, filled, lists)) in enumerate(marks.items()):
        look = f'fill="{colour}"' if filled else f'fill="none" stroke="{colour}" stroke-width="2"'
        parts.append(f'<circle cx="{left + 5}" cy="{28 + 14 * i}" r="4" {look}/>')
        parts.append(f'<text x="{left + 15}" y="{32 + 14 * i}">{escape(name)}</text>')
        for row, own in enumerate(lists):
            for value in own:
                tip = f"<title>{escape(name)}: {value:.4g}</title>"
                parts.append(f'<circle cx="{at_x(value)}" cy="{_at_row(row)}" r="4" {look}>{tip}</circle>')
    return "".join(parts)
