"""The number of processes changes nothing in what is learnt from a global batch."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tools.torture.processes import KILLED, ignore_some, one_killed, run_apart, two_against_one, whole
from tools.torture.trainings import difference, draw_data


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


@pytest.mark.slow
def test_a_validation_that_one_of_two_processes_fails_is_repeated(tmp_path: Path) -> None:
    data, output = draw_data(tmp_path / "data"), tmp_path / "run"
    assert whole(data, tmp_path) == ""
    mask = data / "camvid" / "valannot" / "scene_00004.png"  # beyond those of the check before the first step
    good = mask.read_bytes()
    cv2.imwrite(str(mask), np.full((64, 64), 77, np.uint8))
    assert run_apart(KILLED, data, output)[0] == 2
    assert "the weights of step 2 are saved" in output.with_suffix(".log").read_text()
    mask.write_bytes(good)
    assert run_apart(KILLED, data, output)[0] == 0
    assert difference(tmp_path / "whole", output) == ""
