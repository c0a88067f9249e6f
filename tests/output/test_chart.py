"""Charts drawn to scale, well-formed whatever the names are, in light and dark."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence

import pytest

from rtseg.output.axis import Axis, log_ticks, number, round_ticks
from rtseg.output.chart import STYLE, Chart, Series, draw, inline

STEPS = Axis("step", zero=True)
Points = Sequence[tuple[float, float]]


def curve(points: Points, *, log: bool = False) -> Chart:
    return Chart("t", STEPS, Axis("u", log=log, zero=not log), [Series("c", points)])


def places(svg: str) -> list[tuple[float, float]]:
    """Of the points of the only line."""
    (points,) = re.findall(r'<polyline[^>]*points="([^"]*)"', svg)
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in points.split())]


def contrast(one: str, other: str) -> float:
    """WCAG's contrast of two colours #rgb or #rrggbb: 1 to 21."""

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        levels = [int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)]
        linear = [level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def texts(svg: str) -> list[str]:
    return [text.text or "" for text in ElementTree.fromstring(svg).iter() if text.tag.endswith("text")]


def test_values_are_drawn_to_scale() -> None:
    svg = inline(curve([(0, 0.0), (50, 0.5), (100, 1.0)]))
    (x0, y0), (x1, y1), (x2, y2) = places(svg)
    assert (x1 - x0, y1 - y0) == pytest.approx((x2 - x1, y2 - y1), abs=0.2)
    assert x2 > x1
    assert y2 < y1
    ticks = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([\d.e-]+)<', svg))
    assert {float(v): float(k) - 4 for k, v in ticks.items()}[1.0] == pytest.approx(y2, abs=0.1)


def test_logarithmic_axes() -> None:
    svg = inline(curve([(0, 1.0), (1, 0.1), (2, 0.01), (3, 0.0)], log=True))
    (_, y0), (_, y1), (_, y2) = places(svg)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert ">0.02<" in svg
    both = Chart(
        "t", Axis("x", log=True, ticks=[1, 10]), Axis("y", log=True), [Series("c", [(1, 1), (10, 9), (100, 81)])]
    )
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places(inline(both)))]
    assert steps[0] == pytest.approx(steps[1], abs=0.2)
    assert steps[0][0] > 0 > steps[0][1]


def test_rows_with_names_go_down_and_panels_beside_each_other_agree() -> None:
    names = ["first", "second", "third"]
    dots = [Series("kind", [(1.0, 0), (2.0, 1), (3.0, 2)], line=False)]
    more = [Series(f"kind {i}", [(1.0, 2)], line=False) for i in range(9)]  # a legend of several lines
    svg = draw([Chart("a", Axis(), Axis(names=names), dots), Chart("b", Axis(), Axis(names=[""] * 3), more)])
    root = ElementTree.fromstring(svg)
    left, right = root.findall("{*}g")
    rows = [float(text.attrib["y"]) for text in left.findall("{*}text") if text.text in names]
    assert rows == sorted(rows)
    shown = [float(dot.attrib["cy"]) for dot in left.findall("{*}circle") if dot.find("{*}title") is not None]
    assert shown == [row - 4 for row in rows]
    others = {float(dot.attrib["cy"]) for dot in right.findall("{*}circle") if dot.find("{*}title") is not None}
    assert others == {shown[2]}


def test_a_long_curve_becomes_means_within_a_band() -> None:
    svg = inline(curve([(float(k), float(k % 2)) for k in range(10_000)]))
    drawn = places(svg)
    assert len(drawn) <= 240
    assert max(y for _, y in drawn) - min(y for _, y in drawn) < 1
    assert "<polygon" in svg
    assert len(svg) < 20_000


@pytest.mark.parametrize("value", [0.0, 1e-7, 0.5, 3.0, 12345.0, -2.0, float("nan"), float("inf")])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_a_chart_of_one_value(value: float, log: bool, zero: bool) -> None:
    chart = Chart("t", STEPS, Axis("u", log=log, zero=zero), [Series("c", [(0, value)])])
    svg = inline(chart)
    assert ("<circle" in svg) == (abs(value) < 1e300 and (value > 0 or not log))
    assert "nan" not in svg


def test_charts_of_nothing() -> None:
    assert inline(curve([])) == ""
    assert texts(draw([curve([]), curve([(0, 1.0)])])).count("t") == 1


@pytest.mark.parametrize("name", ["a<b", "R&D", '"x"', "</svg><script>alert(1)</script>", "\x00\x1b[31m", "ü→"])
def test_names_are_text_whatever_they_are(name: str) -> None:
    points = [(0.0, 1.0), (1.0, 2.0)]
    chart = Chart(name, Axis(name), Axis(name), [Series(name, points, dots=True)], [(0, 1, name)], [(1, 2, name)])
    kinds = Chart(name, Axis(), Axis(names=[name]), [Series("s", [(1, 0)], line=False, tips=[name])])
    for svg in (draw([chart, kinds]), inline(chart)):
        root = ElementTree.fromstring(svg)
        assert {node.tag.rpartition("}")[2] for node in root.iter()} <= {
            "svg", "style", "g", "rect", "text", "line", "polyline", "circle", "title",
        }  # fmt: skip
        if name.isprintable():
            assert name in texts(svg)


def test_the_legend_shows_each_series_as_it_is_drawn() -> None:
    """Its colour, its dashes, its dots; lines differ in dashes too."""
    points = [(0.0, 1.0), (1.0, 2.0)]
    long = Series("d" * 200, points)
    kinds = [Series("a", points), Series("b", points, dots=True), Series("c", points, color=7), long]
    svg = inline(Chart("t", Axis(), Axis(), kinds))
    root = ElementTree.fromstring(svg)
    drawn = [node.attrib["class"] for node in root.findall("{*}polyline")]
    legend = [node.attrib["class"] for node in root.findall("{*}line") if node.attrib["class"] != "grid"]
    assert legend == drawn
    assert len({name.split()[-1] for name in drawn}) == 4
    assert [node.attrib["class"] for node in root.findall("{*}circle")] == ["dot c1"] * 3  # one in the legend
    assert max(map(len, texts(svg))) < 60


def test_colours_can_be_told_from_the_ground() -> None:
    """WCAG: a contrast of 3 for lines and dots, 4.5 for text, in light and dark."""
    light, dark = STYLE.split("@media")
    for style, grounds in ((light, ("#ffffff", "#f6f7f8")), (dark, ("#12161a",))):
        lines = re.findall(r"\{color:(#\w{6})\}", style) + re.findall(r"mark\{[^}]*stroke:(#\w{6})", style)
        words = re.findall(r"(?:text|title)\{[^}]*fill:(#\w+)", style)
        assert (len(lines), len(words)) == (10, 2)
        for ground in grounds:
            assert min(contrast(colour, ground) for colour in lines) >= 3
            assert min(contrast(colour, ground) for colour in words) >= 4.5


def test_it_follows_dark_mode_and_asks_for_nothing() -> None:
    svg = draw([curve([(0, 1.0), (1, 2.0)])])
    assert svg.count(STYLE) == 1
    assert "prefers-color-scheme:dark" in STYLE
    assert STYLE not in inline(curve([(0, 1.0)]))  # a page has it once
    assert set(re.findall(r"https?://[^\"' ]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in svg


@pytest.mark.parametrize(("x", "log"), [(float("nan"), False), (float("inf"), False), (0.0, True)])
def test_marks_and_labels_that_an_axis_does_not_show_are_left_out(x: float, log: bool) -> None:
    texts_of = [(x, 1.0, "away"), (1.0, 1.0, "here")]
    chart = Chart("t", Axis(log=log), Axis(), [Series("c", [(1, 1)])], marks=texts_of, labels=texts_of)
    svg = inline(chart)
    assert texts(svg).count("here") == 2
    assert "away" not in svg
    assert "nan" not in svg


def test_labels_make_way_for_each_other() -> None:
    labels = [(1.0, 1.0, "one"), (1.0, 1.001, "two"), (1.0, 0.999, "three")]
    chart = Chart("t", Axis(), Axis(), [Series("c", [(0, 0), (1, 1)], line=False)], labels=labels)
    heights = [
        float(y) for y, text in re.findall(r'y="([\d.]+)">(\w+)<', inline(chart)) if text in ("one", "two", "three")
    ]
    assert min(abs(a - b) for a, b in itertools.combinations(heights, 2)) >= 12


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.4, 1.05), (-3, 8), (31.7, 33.1), (0, 123456), (1e-7, 3e-7)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    ticks = round_ticks(low, high)
    assert 3 <= len(ticks) <= 7
    assert all(low - 1e-9 <= tick <= high + 1e-9 * abs(high) for tick in ticks)
    assert len({number(tick) for tick in ticks}) == len(ticks)


def test_ticks_of_a_logarithmic_axis() -> None:
    assert log_ticks(0.9, 11) == pytest.approx([1, 2, 5, 10])
    assert log_ticks(1e-4, 1e4) == pytest.approx([10.0**k for k in range(-4, 5)])
    assert len(log_ticks(2.1, 4.9)) >= 2
