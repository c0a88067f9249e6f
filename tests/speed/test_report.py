"""What the figures of a report say, and what is doubted."""

import dataclasses
import json
import math
from typing import Any

import pytest

from rtseg.speed.benchmark import (
    Report,
    Timing,
)
from rtseg.speed.parity import Parity
from tests.helpers.speed import STEADY, row, took

# --- what the figures say


@pytest.mark.parametrize(
    ("rows", "bound"),
    [
        ({"eager:fp32": 9.0, "cudagraph:fp32": 3.0}, 1),
        ({"eager:fp32": 4.0, "cudagraph:fp32": 3.0}, 0),
        ({"eager:fp32": 9.0, "cudagraph:fp16": 3.0}, 0),
        ({"eager:fp16": 9.0, "cudagraph:fp16": 3.0, "eager:fp32": 9.0, "cudagraph:fp32": 8.0}, 1),
        ({"eager:fp32": 9.0}, 0),
        ({"reference:fp32": 9.0, "cudagraph:fp32": 1.0}, 0),
    ],
)
def test_launch_bound(rows: dict[str, float], bound: int) -> None:
    found = Report(STEADY, tuple(row(backend=name, class_map=took(ms)) for name, ms in rows.items())).launch_bound()
    assert len(found) == bound
    assert all("as a CUDA graph" in line for line in found)


@pytest.mark.parametrize(
    "other", [{"input_size": (9, 9)}, {"batch_size": 2}, {"weights": "v"}, {"attention": "b"}, {"model": "n"}]
)
def test_launch_bound_compares_like_with_like(other: dict[str, Any]) -> None:
    eager = row(class_map=took(9))
    graph = row(backend="cudagraph:fp32", class_map=took(1))
    assert len(Report(STEADY, (eager, graph)).launch_bound()) == 1
    assert Report(STEADY, (eager, dataclasses.replace(graph, **other))).launch_bound() == []
    assert Report(STEADY, (eager, row(backend="cudagraph:fp32", refused="wrong"))).launch_bound() == []


def test_doubts_are_said() -> None:
    drifting = Timing.of([10.0] * 10 + [20.0] * 10, batch_size=1, warmup_iterations=1)
    unsteady = Timing.of([10.0] * 8 + [30.0] * 4 + [10.0] * 8, batch_size=1, warmup_iterations=1)
    few = Timing.of([10.0] * 19, batch_size=1, warmup_iterations=1)
    steady = took(10)
    for load, class_map_time, network, said in (
        (0, steady, steady, []),
        (99, steady, steady, ["other work kept 99 cores"]),
        (0, drifting, steady, ["m a, eager:fp32, 8x8, class map: drifted by +100%"]),
        (0, steady, drifting, ["network: drifted by +100%"]),
        (0, steady, unsteady, ["network: unsteady"]),
        (0, few, steady, ["fewer than 20 runs: m a, eager:fp32, 8x8, class map (19); give more seconds"]),
        (0.2, few, few, ["class map (19), m a, eager:fp32, 8x8, network (19)"]),
        (0.2, None, None, []),
        (1, drifting, unsteady, ["other work", "drifted", "unsteady"]),
    ):
        conditions = {"device": {"name": "x", "cores": 2, "cores_busy_with_other_work": load}}
        found = Report(conditions, (row(class_map=class_map_time, network=network),)).doubts()
        assert len(found) == len(said)
        assert all(part in doubt for part, doubt in zip(said, found, strict=True))
    assert Report({"device": {"name": "a GPU"}}, (row(class_map=steady),)).doubts() == []


# --- a file of somebody else's


@pytest.mark.parametrize("value", ["<script>", None, True, math.nan, math.inf, 10**400, 1e308, [], {}, -(10**301)])
@pytest.mark.parametrize(
    "path",
    ["class_map fps", "class_map drift", "macs", "input_size 0", "parity equal_percent", "backend", "num_classes"],
)
def test_other_values_than_a_report_has_are_refused(path: str, value: Any) -> None:
    parity = Parity(99.9, None, "equal_percent", 99.0, True, 1)
    text = Report(STEADY, (row(class_map=took(9), parity=parity),)).to_json()
    content = json.loads(text)
    *parents, last = [int(key) if key.isdigit() else key for key in ("networks 0 " + path).split()]
    place = content
    for key in parents:
        place = place[key]
    place[last] = value
    if (path, value) in (("backend", "<script>"), ("macs", None)):  # these may be
        assert Report.from_json(json.dumps(content))
        return
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        Report.from_json(json.dumps(content))
    assert Report.from_json(text)
