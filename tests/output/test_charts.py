"""Curves drawn to scale."""

import re

import pytest

from rtseg.output.charts import Curve, chart


def curve_points(svg: str) -> list[tuple[float, float]]:
    (points,) = re.findall(r'<polyline[^>]*points="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def test_chart_draws_values_to_scale() -> None:
    svg = chart("t", "u", [Curve("c", [(0, 0.0), (50, 0.5), (100, 1.0)], "val")], last=100)
    (x0, y0), (x1, y1), (x2, y2) = curve_points(svg)
    assert (x1 - x0, y1 - y0) == pytest.approx((x2 - x1, y2 - y1), abs=0.2)
    assert x2 > x1
    assert y2 < y1
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([\d.e-]+)<', svg))
    assert {float(v): float(k) - 4 for k, v in ticks.items()}[1.0] == pytest.approx(y2, abs=0.1)


def test_logarithmic_chart() -> None:
    svg = chart("t", "u", [Curve("c", [(0, 1.0), (1, 0.1), (2, 0.01), (3, 0.0)], "val")], last=3, log=True)
    (_, y0), (_, y1), (_, y2) = curve_points(svg)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert ">0.02<" in svg


def test_long_curve_becomes_means_within_a_band() -> None:
    points = [(float(k), float(k % 2)) for k in range(10_000)]
    svg = chart("t", "u", [Curve("c", points, "train")], last=10_000)
    drawn = curve_points(svg)
    assert len(drawn) <= 240
    assert max(y for _, y in drawn) - min(y for _, y in drawn) < 1
    assert "<polygon" in svg
    assert len(svg) < 20_000


@pytest.mark.parametrize("value", [0.0, 1e-7, 0.5, 3.0, 12345.0])
@pytest.mark.parametrize("log", [False, True])
def test_chart_of_one_value(value: float, log: bool) -> None:
    svg = chart("t", "u", [Curve("c", [(0, value)], "val")], last=0, log=log)
    assert ("<circle" in svg) == (value > 0 or not log)
    assert "nan" not in svg


def test_chart_of_nothing() -> None:
    assert chart("t", "u", [Curve("c", [], "val")], last=10) == ""
