"""What is said of doubtful figures: each doubt once below a table, all in the JSON, no ratio of a busy machine."""

import json
from typing import Any

import pytest

from rtseg.speed.doubts import Doubts, Figure
from rtseg.speed.report import Report
from rtseg.speed.tables import headline, remarks
from rtseg.speed.timing import Timing
from tests.helpers.speed import STEADY, row, took
from tests.helpers.tables import printed

DRIFTING = Timing.of([10.0] * 10 + [20.0] * 10, batch_size=1, warmup_iterations=1)
UNSTEADY = Timing.of([10.0] * 8 + [30.0] * 4 + [10.0] * 8, batch_size=1, warmup_iterations=1)
FEW = Timing.of([10.0] * 7, batch_size=1, warmup_iterations=1)
STILL = took(10)


def doubts(*timings: Timing, **conditions: Any) -> Doubts:
    figures = [Figure(f"row {i}", "class map", timing) for i, timing in enumerate(timings)]
    return Doubts({**STEADY, **conditions}, figures)


def notes(found: Doubts, ratios: bool = False) -> list[str]:
    return found.notes(ratios=ratios, repair="run again")


def test_a_doubt_of_one_row_is_a_mark_and_a_line() -> None:
    found = doubts(STILL, DRIFTING, STILL, FEW)
    assert [found.mark(f"row {i}") for i in range(4)] == ["", "¹", "", "²"]
    assert notes(found) == [
        "¹ drifted by +100% from the start to the end of the run",
        "² timed in 7 runs, fewer than 20: give more --seconds",
    ]
    assert found.every() == [
        "row 1, class map: drifted by +100% during the run",
        "fewer than 20 runs: row 3, class map (7); give more seconds",
    ]


def test_a_doubt_of_all_rows_is_one_line_without_a_mark() -> None:
    found = doubts(FEW, FEW, FEW)
    assert [found.mark(f"row {i}") for i in range(3)] == [""] * 3
    assert notes(found) == ["every row: timed in 7 runs, fewer than 20: give more --seconds"]
    assert notes(doubts(FEW)) == ["timed in 7 runs, fewer than 20: give more --seconds"]


@pytest.mark.parametrize(
    ("conditions", "busy"),
    [
        ({}, None),
        ({"cores_busy_during_the_run": 0.2}, None),
        ({"cores_busy_during_the_run": 1.4}, "other work kept 1.4 of 2 cores busy"),
        ({"cores_busy_during_the_run": None}, None),
        (
            {"device": {"name": "x", "cores": 2, "cores_busy_with_other_work": 1.2}},
            "other work kept 1.2 of 2 cores busy",
        ),
        # What was counted during the run decides, where it was.
        (
            {"device": {"name": "x", "cores": 2, "cores_busy_with_other_work": 1.2}, "cores_busy_during_the_run": 0.1},
            None,
        ),
        ({"device": {"name": "x", "cores": 64}, "cores_busy_during_the_run": 1.4}, None),
    ],
)
def test_other_work_makes_a_machine_busy(conditions: dict[str, Any], busy: str | None) -> None:
    conditions = {"device": {"name": "x", "cores": 2}, **conditions}
    found = doubts(STILL, DRIFTING, STILL, **conditions)
    assert found.busy() == busy
    if busy:  # which explains the drift
        assert notes(found) == [f"the machine was busy ({busy}): ratios withheld; run again, or --ratios to show them"]
        assert notes(found, ratios=True) == [
            f"the machine was busy ({busy}): ratios may be wrong by a factor of two; run again"
        ]
        assert any("drifted" in doubt for doubt in found.every())


def test_most_times_unsteady_make_a_machine_busy() -> None:
    assert doubts(DRIFTING, UNSTEADY, STILL).busy() == "2 of 3 times were unsteady"
    assert doubts(DRIFTING, STILL).busy() is None
    assert doubts(DRIFTING).busy() is None  # a single row has no ratio


@pytest.mark.parametrize("ratios", [False, True])
def test_the_table_of_a_busy_machine_has_ratios_only_where_asked(ratios: bool) -> None:
    conditions = {"device": {"name": "x", "cores": 2}, "cores_busy_during_the_run": 1.4}
    rows = (row(backend="reference:fp32", class_map=took(10)), row(class_map=took(4)))
    report = Report(conditions, rows)
    lines = " ".join(printed(headline(report, ratios=ratios), 80))
    assert ("2.50" in lines) == ("times" in lines) == ratios
    assert ("ratios withheld; run again on a quiet machine, or --ratios" in remarks(report, ratios=ratios)[0]) != ratios
    content = json.loads(report.to_json())
    assert content["busy"] == "other work kept 1.4 of 2 cores busy"
    assert [line["class_map"]["fps"] for line in content["networks"]] == [100, 250]
    assert "2.50" in " ".join(printed(headline(Report({"device": {"name": "x"}}, rows)), 80))


def test_a_processor_that_was_slow_itself_is_said_once() -> None:
    said = "the processor itself was up to 1.9 times slower in 43% of 120 looks: heat, or other guests of its host"
    seen = {"looks": 120, "slow_share": 0.43, "slowest": 1.9}
    found = doubts(STILL, UNSTEADY, processor=seen)
    assert notes(found) == [said, "¹ unsteady: one run in twenty took 3.0 times the median or longer"]
    assert found.every()[0] == said
    assert notes(doubts(STILL, processor={**seen, "slow_share": 0.1})) == []
    assert notes(doubts(STILL, processor=None)) == []
