"""`rtseg stereo fit` on two processes, with an odd number of validation pairs."""

from pathlib import Path

import pytest

from rtseg.scenes import make_data
from rtseg.tasks.stereo.cli import StereoCLI
from rtseg.tasks.stereo.data import StereoData
from rtseg.tasks.stereo.module import StereoModule
from tests.helpers.processes import DDP, check_equal, check_same_scores, finished, killed, last_scores, validated


@pytest.mark.slow
def test_two_processes_train_score_and_resume_as_one(tmp_path: Path, fit: list[str]) -> None:
    data = make_data("sceneflow", 6, tmp_path / "data", n_val=3, size=(64, 96))
    words = [*fit, f"--data.root={data}", "--model.ema_decay=0.9", "--save_every=1", *DDP]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finished(*words, f"--output={whole}")
    killed(*words, f"--output={cut}", file=cut / "last.ckpt", steps=2)
    finished(*words, f"--output={cut}", f"--ckpt_path={cut / 'last.ckpt'}")
    check_equal(whole / "last.ckpt", cut / "last.ckpt")
    check_same_scores(last_scores(whole), last_scores(cut))
    alone = validated(StereoCLI, StereoModule, StereoData, whole / "last.ckpt", data)
    assert alone["val/epe"] > 0
    check_same_scores(last_scores(whole), alone)
