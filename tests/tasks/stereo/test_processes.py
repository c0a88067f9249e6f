"""`rtseg stereo fit` on two processes, with an odd number of validation pairs."""

from pathlib import Path

import pytest

from rtseg.scenes import make_data
from rtseg.tasks.stereo.cli import StereoCLI
from rtseg.tasks.stereo.data import StereoData
from rtseg.tasks.stereo.module import StereoModule
from tests.helpers.processes import DDP, check_resumes, check_same_scores, last_scores, validated


@pytest.mark.slow
def test_two_processes_train_score_and_resume_as_one(tmp_path: Path, fit: list[str]) -> None:
    data = make_data("sceneflow", 12, tmp_path / "data", n_val=3, size=(64, 96))
    words = [*fit, "--data.batch_size=4", f"--data.root={data}", "--model.ema_decay=0.9", "--save_every=1", *DDP]
    whole = check_resumes(words, tmp_path)
    alone = validated(StereoCLI, StereoModule, StereoData, whole / "last.ckpt", data)
    assert alone["val/epe"] > 0
    check_same_scores(last_scores(whole), alone)
