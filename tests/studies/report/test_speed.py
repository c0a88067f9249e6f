"""The speeds of the page: the fastest engine first, and each doubt where it belongs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from rtseg.speed.benchmark import NetworkReport, Report
from rtseg.studies.report import write_report
from tests.helpers.run_folder import Page


def faster(row: NetworkReport, **changes: Any) -> NetworkReport:
    """Ten times as fast as `row`."""
    timings = {
        figure: replace(timing, fps=10 * timing.fps, median_ms=timing.median_ms / 10)
        for figure in ("class_map", "network")
        if (timing := getattr(row, figure))
    }
    return replace(row, **timings, **changes)


def test_the_fastest_engine_is_the_headline(run: Path, measured: str) -> None:
    """The fastest of the rows that ran on images of the first row's size and number; all are in the table."""
    report = Report.from_json(measured)
    (row,) = report.networks
    engine = {"backend": "quick", "precision": "int8", "quick": "7.1"}
    quick = faster(row, backend="quick:int8", engine=engine)
    refused = replace(row, backend="poor:fp16", refused="logits differ", class_map=None, network=None)
    small = replace(faster(faster(row)), input_size=(8, 8))
    many = replace(faster(faster(row)), batch_size=16)
    rows = (row, refused, quick, small, many)
    (run / "benchmark.json").write_text(replace(report, networks=rows).to_json())
    page = Page(write_report(run))
    assert row.class_map is not None
    fps = f"{10 * row.class_map.fps:.1f} FPS, image → class map"
    assert f"{fps}: 24×32 (height × width), batch 1, quick:int8" in page.text
    assert "engine quick:int8, 24×32, batch 1 quick 7.1;" in page.text
    assert "Not timed: poor:fp16, 24×32, batch 1, because logits differ." in page.text
    assert engines(page) == [
        "quick:int8, 24×32, batch 1",
        "eager:fp32, 24×32, batch 1",
        "eager:fp32, 8×8, batch 1",
        "eager:fp32, 24×32, batch 16",
    ]
    (run / "benchmark.json").write_text(replace(report, networks=(row, quick)).to_json())
    lines = {line[0]: line[1:3] for line in Page(write_report(run)).rows if line}
    assert lines["quick:int8"] == [f"{10 * row.class_map.fps:.1f}", f"{row.class_map.median_ms / 10:.2f}"]


def engines(page: Page) -> list[str]:
    """Names of the rows of the table of speeds."""
    return [line[0] for line in page.rows if line and line[0].partition(":")[0] in ("eager", "quick", "slow")]


def test_each_doubt_is_said_once_where_it_belongs(run: Path, measured: str) -> None:
    """Those of the machine and of the fastest engine at the speeds, those of other engines at the end."""
    report = Report.from_json(measured)
    (row,) = report.networks
    assert row.class_map is not None
    steady = replace(row.class_map, drift=0.0, p95_ms=row.class_map.median_ms, iterations=100)
    row = replace(row, class_map=steady, network=None)
    slow = replace(row, backend="slow:fp32", class_map=replace(steady, fps=steady.fps / 9, drift=0.5))
    device = report.conditions["device"] | {"cores_busy_with_other_work": 1.5}
    conditions = report.conditions | {"device": device, "cores_busy_during_the_run": 1.75}
    (run / "benchmark.json").write_text(replace(report, conditions=conditions, networks=(slow, row)).to_json())
    page = Page(write_report(run))
    assert engines(page) == ["eager:fp32", "slow:fp32"]
    assert page.text.count("the machine was busy") == page.text.count("other work kept") == 1
    assert page.text.count("; measured on a busy machine") == 1
    assert page.text.count("drifted by +50%") == 1
    words = ("engine, fastest first", "Conditions and cautions", "drifted by")
    places = [page.text.index(word) for word in words]
    assert places == sorted(places)
    device["cores_busy_with_other_work"] = conditions["cores_busy_during_the_run"] = 0.0
    fast = replace(row, backend="quick:fp32", class_map=replace(steady, fps=9 * steady.fps, drift=-0.25))
    (run / "benchmark.json").write_text(replace(report, conditions=conditions, networks=(row, row, fast)).to_json())
    text = Page(write_report(run)).text
    assert "the machine was busy" not in text
    assert "on a busy machine" not in text
    assert text.index("drifted by -25%") < text.index("engine, fastest first"), "the headline's own doubt stands at it"


def test_an_engine_that_gives_class_maps_alone(run: Path, measured: str) -> None:
    report = Report.from_json(measured)
    (row,) = report.networks
    (run / "benchmark.json").write_text(replace(report, networks=(replace(row, network=None),)).to_json())
    text = Page(write_report(run)).text
    assert "FPS, image → class map" in text
    assert "not apart" in text
