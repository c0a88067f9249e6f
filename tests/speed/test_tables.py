"""The tables of a report: what a narrow terminal shows of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from rtseg.speed.report import Report
from rtseg.speed.tables import headline, remarks, stages
from tests.helpers.speed import STEADY, row, took
from tests.helpers.tables import check_whole, printed

RIVALS = next((Path(__file__).parents[2] / "benchmarks/results").glob("*/*_rivals.json"))


def measured() -> Report:
    """A real one, with engines of long names, more digits, and a refusal."""
    report = Report.from_json(RIVALS.read_text())
    first = report.networks[0]
    return replace(
        report,
        networks=(
            *report.networks,
            replace(first, backend="onnxruntime-plain:fp32", class_map=took(1234.5), miou=0.5),
            replace(first, backend="openvino:int8", class_map=None, network=None, refused="the logits differ"),
            replace(first, input_size=(1024, 2048), batch_size=16),
        ),
    )


@pytest.mark.parametrize("width", [80, 120])
def test_no_cell_of_the_speed_table_is_wrapped_or_cut(width: int) -> None:
    report = measured()
    lines = printed(headline(report), width)
    assert max(map(cell_len, lines)) <= width
    body = [line.split() for line in lines]
    engines = [words for words in body if words and words[0] in {network.backend for network in report.networks}]
    assert len(engines) == len(report.networks)  # one line each
    for words, network in zip(engines, report.networks, strict=True):
        assert words[0] == network.backend
        assert f"{network.class_map.median_ms:.2f}" in words if network.class_map else "refused" in words
    assert any("1024x2048, batch 16" in line for line in lines)


def test_a_wider_terminal_shows_more() -> None:
    narrow, wide, whole = (" ".join(printed(headline(measured()), width)) for width in (80, 120, 200))
    assert "engine ms FPS times equal mIoU" in " ".join(narrow.split())
    assert "not shown at this width: 5 to 95 %, ms; network alone, ms; Mpixel/s" in narrow
    assert "network alone, ms" in wide
    assert "not shown" not in whole


@pytest.mark.parametrize("width", [80, 120])
def test_stages_fit_too(width: int) -> None:
    table = stages(measured())
    assert table is not None
    check_whole(table, width)
    assert stages(Report(STEADY, (row(),))) is None


def test_the_docs_show_the_table_as_it_is() -> None:
    report = Report.from_json(RIVALS.read_text())
    report = replace(report, networks=report.networks[:10])
    shown = [*printed(headline(report), 80), *(f"- {note}" for note in remarks(report))]
    page = (Path(__file__).parents[2] / "docs/benchmark.md").read_text()
    assert " ".join(" ".join(shown).split()) in " ".join(page.split())
