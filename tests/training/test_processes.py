"""The number of processes changes nothing in what is learnt from a global batch."""

from pathlib import Path

import pytest

from tools.torture.processes import ignore_some, one_killed, two_against_one, whole
from tools.torture.trainings import draw_data


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    """50 steps in float64 with BatchNorm frozen and unequal numbers of labelled pixels; five validation images."""
    data = draw_data(tmp_path / "data")
    ignore_some(data / "camvid")
    outcome = two_against_one(data, tmp_path, 50)
    assert outcome.good, outcome.said


@pytest.mark.slow
def test_one_of_two_processes_killed_ends_the_other_and_is_resumed(tmp_path: Path) -> None:
    data = draw_data(tmp_path / "data")
    assert whole(data, tmp_path) == ""
    outcome = one_killed(1, data, tmp_path)
    assert outcome.good, outcome.said
