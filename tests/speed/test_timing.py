"""The clock, held to steps of known length."""

import time
from functools import partial
from itertools import pairwise

import pytest

from rtseg.errors import UserError
from rtseg.speed.benchmark import (
    Timing,
    measure,
)
from rtseg.speed.timing import measure_together


def test_a_sleep_of_known_length() -> None:
    timing = measure(lambda: time.sleep(0.02), warmup_seconds=0.1, min_iterations=20, min_seconds=0.2, batch_size=4)
    assert timing.median_ms == pytest.approx(20, abs=4)
    assert timing.fps == pytest.approx(4000 / timing.median_ms)
    assert timing.iterations >= 20
    assert timing.warmup_iterations >= 2
    assert timing.p5_ms <= timing.median_ms <= timing.p95_ms <= timing.p99_ms


def test_it_runs_until_both_minima_or_the_maximum() -> None:
    begin = time.perf_counter()
    assert measure(lambda: time.sleep(0.001), warmup_seconds=0, min_iterations=1, min_seconds=0.5).iterations > 100
    assert time.perf_counter() - begin >= 0.5
    slow = measure(lambda: time.sleep(0.05), warmup_seconds=0, min_iterations=10**6, min_seconds=0.1, max_seconds=0.3)
    assert 3 <= slow.iterations <= 7


def test_warm_up_waits_until_the_time_settles() -> None:
    calls: list[None] = []

    def step() -> None:
        calls.append(None)
        time.sleep(max(0.002, 0.1 - 0.02 * len(calls)))  # 80 ms at first, 2 ms from the fifth call on

    timing = measure(step, warmup_seconds=0.1, min_iterations=20, min_seconds=0, max_seconds=9)
    assert timing.p95_ms < 18
    assert len(calls) == timing.iterations + timing.warmup_iterations


def test_steps_take_turns() -> None:
    order: list[float] = []

    def step(seconds: float) -> None:
        order.append(seconds)
        time.sleep(seconds)

    steps = [partial(step, 0.01), partial(step, 0.03)]
    fast, slow = measure_together(steps, warmup_seconds=0, min_iterations=1, min_seconds=1.2)
    assert slow.median_ms / fast.median_ms == pytest.approx(3, rel=0.3)
    assert sum(before != now for before, now in pairwise(order)) >= 5  # warm-up a, b, then at least two rounds of each


def test_statistics() -> None:
    timing = Timing.of([*[10.0] * 50, *[12.0] * 50], batch_size=2, warmup_iterations=7)
    assert (timing.median_ms, timing.mean_ms, timing.std_ms) == (11, 11, 1)
    assert (timing.p5_ms, timing.p95_ms, timing.p99_ms) == (10, 12, 12)
    assert timing.drift == pytest.approx(0.2)
    assert (timing.iterations, timing.warmup_iterations) == (100, 7)
    assert timing.fps == pytest.approx(2000 / 11)


@pytest.mark.parametrize(
    "bad",
    [
        {"min_iterations": 0},
        {"min_seconds": -1},
        {"warmup_seconds": -1},
        {"max_seconds": 0},
        {"max_seconds": 1},
        {"min_seconds": 0},
    ],
)
def test_nothing_to_measure_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="at least one iteration"):
        measure(lambda: None, **bad)
