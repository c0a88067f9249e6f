"""Curves over training steps as inline SVG, coloured by the page's style sheet, so that they follow light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 440, 250  # of the drawing, in the units of its view box
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 26, 38
_MOST = 240  # points of one curve; more are drawn as the means of neighbours within the band of their range


@dataclass(frozen=True)
class Curve:
    """A line.

    Attributes:
        points: (step, value), in order of steps, all finite.
        style: class of the style sheet that gives the colour.
        dots: mark every point and say its value when pointed at.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    dots: bool = False


def chart(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    *,
    last: float,
    log: bool = False,
    best: tuple[float, float] | None = None,
) -> str:
    """A figure with axes, curves and legend for an HTML page; empty where no curve has a point.

    Args:
        unit: label of the vertical axis, which starts at 0 unless it is logarithmic.
        last: step at the right end of the horizontal axis, which starts at 0.
        log: logarithmic vertical axis; values that are not above 0 are left out.
        best: a point to mark.
    """
    drawn = drawing(title, unit, curves, last=last, log=log, best=best)
    if not drawn:
        return ""
    shown = [curve for curve in curves if any(value > 0 or not log for _, value in curve.points)]
    keys = "".join(f'<span class="key"><i class="{curve.style}"></i>{escape(curve.name)}</span>' for curve in shown)
    return f'<figure class="chart"><figcaption><b>{escape(title)}</b>{keys}</figcaption>{drawn}</figure>'


def drawing(
    title: str,
    unit: str,
    curves: Sequence[Curve],
    *,
    last: float,
    log: bool = False,
    best: tuple[float, float] | None = None,
) -> str:
    """The figure's drawing alone, an `svg` element. The arguments are those of `chart`."""
    shown = [
        Curve(curve.name, points, curve.style, curve.dots)
        for curve in curves
        if (points := [point for point in curve.points if point[1] > 0 or not log])
    ]
    if not shown:
        return ""
    values = [value for curve in shown for _, value in curve.points]
    last = max(last, 1)
    low, high = (min(values) / 1.1, max(values) * 1.1) if log else (min(0.0, *values), max(values))
    if low == high:
        high = low * 2 if low > 0 else low + 1
    scale = math.log if log else float
    ticks = _log_ticks(low, high) if log else round_ticks(low, high)
    if not log:
        high = max(high, ticks[-1])

    def x(step: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * step / last, 1)

    def y(value: float) -> float:
        height = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * height, 1)

    parts = []
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(tick)}" y2="{y(tick)}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y(tick) + 4}" text-anchor="end">{_number(tick)}</text>')
    for tick in round_ticks(0, last):
        if tick <= last:
            parts.append(f'<text x="{x(tick)}" y="{HEIGHT - _BOTTOM + 17}" text-anchor="middle">{_number(tick)}</text>')
    parts.append(f'<text class="axis" x="{WIDTH - _RIGHT}" y="{HEIGHT - 5}" text-anchor="end">step</text>')
    parts.append(f'<text class="axis" x="0" y="11">{escape(unit)}</text>')
    for curve in shown:
        groups = _groups(curve.points)
        if len(groups) < len(curve.points):
            upper = [f"{x(step)},{y(top)}" for step, _, _, top in groups]
            lower = [f"{x(step)},{y(bottom)}" for step, _, bottom, _ in reversed(groups)]
            parts.append(f'<polygon class="band {curve.style}" points="{" ".join(upper + lower)}"/>')
        line = " ".join(f"{x(step)},{y(mean)}" for step, mean, _, _ in groups)
        parts.append(f'<polyline class="curve {curve.style}" points="{line}"/>')
        for step, value in curve.points if curve.dots or len(curve.points) == 1 else ():
            tip = f"<title>step {step:.0f}: {value:.4f}</title>"
            parts.append(f'<circle class="dot {curve.style}" cx="{x(step)}" cy="{y(value)}" r="2.6">{tip}</circle>')
    if best is not None:
        left = x(best[0]) > WIDTH * 0.6
        parts.append(
            f'<circle class="best" cx="{x(best[0])}" cy="{y(best[1])}" r="5.5"/>'
            f'<text class="best-label" x="{x(best[0]) + (-10 if left else 10)}" y="{y(best[1]) - 11}" '
            f'text-anchor="{"end" if left else "start"}">best {best[1]:.4f}</text>'
        )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)} over training steps">'
        f"{''.join(parts)}</svg>"
    )


def _groups(points: Sequence[tuple[float, float]]) -> list[tuple[float, float, float, float]]:
    """(step, mean, lowest, highest) of neighbouring points, at most `_MOST`."""
    size = -(-len(points) // _MOST)
    groups = []
    for start in range(0, len(points), size):
        steps, values = zip(*points[start : start + size], strict=True)
        groups.append((sum(steps) / len(steps), sum(values) / len(values), min(values), max(values)))
    return groups


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover the range, four to seven of them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [k * step for k in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2, 5 times a power of ten within the range, the powers alone where it is wide; evenly spaced where narrow."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [tick for power in powers for factor in (1, 2, 5) if low <= (tick := factor * 10.0**power) <= high]
    if len(ticks) > 8:
        ticks = [10.0**power for power in powers if low <= 10.0**power <= high]
    return ticks if len(ticks) > 1 else [tick for tick in round_ticks(low, high) if low <= tick <= high]


def _number(value: float) -> str:
    """'0', '0.05', '2e-5', '12k'."""
    if abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:.3g}".replace("e-0", "e-") if abs(value) < 1000 else f"{value:.0f}"
