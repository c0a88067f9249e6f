"""What else a machine does."""

import time

import pytest

from rtseg.deploy.device import OtherWork, busy_seconds


def test_own_work_is_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is: of two seconds that the cores worked, half was this process's."""
    clock = {"wall": 10.0, "busy": 100.0, "own": 5.0}
    monkeypatch.setattr(time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(time, "process_time", lambda: clock["own"])
    monkeypatch.setattr("rtseg.deploy.device.busy_seconds", lambda: clock["busy"])
    watch = OtherWork()
    clock.update(wall=11.0, busy=102.0, own=6.0)
    assert watch.cores() == 1.0
    clock.update(own=8.0)  # ticks are coarse
    assert watch.cores() == 0.0
    monkeypatch.setattr("rtseg.deploy.device.busy_seconds", lambda: None)
    assert OtherWork().cores() is None


def test_the_cores_have_worked() -> None:
    first = busy_seconds()
    if first is None:
        pytest.skip("the system does not tell")
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert (busy_seconds() or 0) > first > 0
