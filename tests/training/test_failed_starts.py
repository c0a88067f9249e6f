"""A start that failed leaves no trap: the repaired command runs in the same folder."""

from pathlib import Path

import pytest

from rtseg.cli import main
from tests.helpers.command import exit_status
from tests.helpers.disk import full_disk


@pytest.fixture
def fit(tiny_camvid: Path, tmp_path: Path) -> list[str]:
    """One step and its validation."""
    options = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}
    return [
        *("fit", "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=3", "--data.num_workers=0"),
        *("--data.crop_size=[32,48]", "--trainer.accelerator=cpu", "--trainer.max_steps=1", "--fps.enabled=false"),
        *("--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=1", "--trainer.limit_val_batches=1"),
        *(f"--model.options.{key}={value}" for key, value in options.items()),
        *("--trainer.log_every_n_steps=1", "--trainer.enable_progress_bar=false", f"--output={tmp_path / 'run'}"),
    ]


def test_errors_between_a_score_and_its_checkpoint(fit: list[str], tmp_path: Path) -> None:
    """The log then has scores of a training that cannot be resumed; it is kept under another name."""
    run = tmp_path / "run"
    with full_disk():
        assert exit_status(main, *fit) == 2
    scored = (run / "metrics_failed.csv").read_text()
    assert "val/miou" in scored
    assert {path.name for path in run.glob("*.ckpt")} == set()
    assert exit_status(main, *fit) == 0
    assert (run / "best.ckpt").is_file()
    assert (run / "metrics_failed.csv").read_text() == scored
    assert len((run / "metrics.csv").read_text().splitlines()) == len(scored.splitlines())
    assert exit_status(main, *fit) == 2  # now there are results


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrong",
    [
        ["--data.root=/nowhere"],
        ["--data.batch_size=100"],
        ["--data.crop_size=[0,0]"],
        ["--model.weights=/nowhere"],
        ["--model.loss.class_weights=[1,2]"],
        [
            "--model.optim.lr=1e20",
            "--model.optim.warmup_steps=1",
            "--trainer.max_steps=9",
            "--trainer.val_check_interval=9",
        ],
        ["--trainer.check_val_every_n_epoch=1", "--trainer.val_check_interval=50"],
        ["--trainer.accumulate_grad_batches=70"],
        ["--fps.enabled=true", "--fps.input_size=[0,4]"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_late_errors(fit: list[str], wrong: list[str]) -> None:
    assert exit_status(main, *fit, *wrong) == 2
    assert exit_status(main, *fit) == 0
