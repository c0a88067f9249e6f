"""The clock, held to steps of known length."""

import time
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from rtseg.speed.benchmark import (
    Timing,
    measure,
)
from rtseg.speed.conditions import Conditions
from rtseg.speed.timing import measure_together


def of(**changes: Any) -> Conditions:
    return replace(Conditions(device="cpu", warmup_seconds=0), **changes)


def test_a_sleep_of_known_length() -> None:
    timing = measure(lambda: time.sleep(0.02), of(warmup_seconds=0.1, rounds=20, seconds=0.2, batches=[4]))
    assert timing.median_ms == pytest.approx(20, abs=4)
    assert timing.fps == pytest.approx(4000 / timing.median_ms)
    assert timing.iterations >= 20
    assert timing.warmup_iterations >= 2
    assert timing.p5_ms <= timing.median_ms <= timing.p95_ms <= timing.p99_ms


def test_it_runs_until_both_minima_or_the_maximum() -> None:
    begin = time.perf_counter()
    assert measure(lambda: time.sleep(0.001), of(rounds=1, seconds=0.5)).iterations > 100
    assert time.perf_counter() - begin >= 0.5
    slow = measure(lambda: time.sleep(0.05), of(rounds=10**6, seconds=0.1, most_seconds=0.3))
    assert 3 <= slow.iterations <= 7


def test_warm_up_waits_until_the_time_settles() -> None:
    calls: list[None] = []

    def step() -> None:
        calls.append(None)
        time.sleep(max(0.002, 0.1 - 0.02 * len(calls)))  # 80 ms at first, 2 ms from the fifth call on

    timing = measure(step, of(warmup_seconds=0.1, rounds=20, seconds=0, most_seconds=9))
    assert timing.p95_ms < 18
    assert len(calls) == timing.iterations + timing.warmup_iterations


def test_steps_take_turns() -> None:
    order: list[float] = []

    def step(seconds: float) -> None:
        order.append(seconds)
        time.sleep(seconds)

    steps = [partial(step, 0.01), partial(step, 0.03)]
    fast, slow = measure_together(steps, of(rounds=1, seconds=1.2))
    assert slow.median_ms / fast.median_ms == pytest.approx(3, rel=0.3)
    assert sum(before != now for before, now in pairwise(order)) >= 5  # warm-up a, b, then at least two rounds of each


def test_statistics() -> None:
    timing = Timing.of([*[10.0] * 50, *[12.0] * 50], batch_size=2, warmup_iterations=7)
    assert (timing.median_ms, timing.mean_ms, timing.std_ms) == (11, 11, 1)
    assert (timing.p5_ms, timing.p95_ms, timing.p99_ms) == (10, 12, 12)
    assert timing.drift == pytest.approx(0.2)
    assert (timing.iterations, timing.warmup_iterations) == (100, 7)
    assert timing.fps == pytest.approx(2000 / 11)
