"""The processor's own speed between the turns of a measurement."""

import time

import pytest

from rtseg.speed import pulse as module
from rtseg.speed.pulse import Pulse


def report_of(monkeypatch: pytest.MonkeyPatch, seconds: list[float]) -> dict[str, float] | None:
    pulse = Pulse()
    clock = iter([moment for start, one in enumerate(seconds) for moment in (float(start), start + one)])
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    for _ in seconds:
        pulse.beat()
    monkeypatch.undo()
    return pulse.report()


def test_slow_looks_are_counted_against_the_best_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report_of(monkeypatch, [0.010] * 12 + [0.012] * 4 + [0.020] * 4)
    assert found == {"looks": 20, "slow_share": 0.2, "slowest": 2.0}


def test_few_looks_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert report_of(monkeypatch, [0.01] * 9) is None


def test_a_look_is_work_for_the_processor_and_short() -> None:
    pulse = Pulse()
    begin, used = time.perf_counter(), time.thread_time()
    pulse.beat()
    assert time.thread_time() - used > 2e-4  # it is not optimised away
    assert time.perf_counter() - begin < 1
