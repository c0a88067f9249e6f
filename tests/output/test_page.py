"""Whatever is put into a page is text, and holds no character that no page may hold."""

from pathlib import Path

from rtseg.output.axis import Axis
from rtseg.output.chart import Chart, Series, draw
from rtseg.output.page import drawing, render

EVIL = "<script>alert(1)</script>&\"'\x00\x1b]0;title\x07\u202e\udcff"


def test_a_page_of_evil_texts(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<p title="{{ text }}">{{ text }}</p>\n{{ chart }}')
    chart = Chart(EVIL, Axis(EVIL), Axis(EVIL), [Series(EVIL, [(0, 1), (1, 2)], dots=True)], [(0, 1, EVIL)])
    for text in (render(tmp_path / "page.html", text=EVIL, chart=drawing(chart)), draw([chart])):
        assert "<script" not in text
        assert not set("\x00\x1b\x07\u202e\udcff") & set(text)
        assert r"\x00\x1b]0;title\x07\u202e\udcff" in text
        assert text.encode()


def test_a_chart_of_extreme_numbers() -> None:
    values = [-1e308, -1e-320, 0.0, 5e-324, 1e-100, 1, 1e100, 1e308, float("inf"), float("nan")]
    for log in (False, True):
        for low in values:
            for high in values:
                assert draw([Chart("", Axis(), Axis(log=log), [Series("", [(0, low), (1, high), (2, 1.0)])])])
