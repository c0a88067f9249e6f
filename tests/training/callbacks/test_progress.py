"""What `rtseg fit` prints: every line says something, at 80 columns."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rtseg.cli import main
from rtseg.training.callbacks.progress import Progress
from rtseg.training.callbacks.time_left import TimeLeft
from rtseg.training.checkpoint import BestCheckpoint
from tests.helpers.command import exit_status

WIDTH = 80
TINY_OPTIONS = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}


@pytest.mark.parametrize("terminal", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_training_in_a_few_lines(
    tmp_path: Path,
    tiny_camvid: Path,
    terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"TTY_COMPATIBLE": str(int(terminal)), "COLUMNS": str(WIDTH), "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    options = [f"--model.options.{key}={value}" for key, value in TINY_OPTIONS.items()]
    flags = [
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=3", "--data.crop_size=[32,48]",
        "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--fps.enabled=false",
    ]  # fmt: skip
    assert exit_status(main, "fit", *options, *flags, f"--output={tmp_path / 'run'}") == 0
    printed, errors = capsys.readouterr()
    assert re.search("Tip|Seed|GPU|TPU|stopped|workers|monitored", errors) is None
    seen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.replace("\r", "\n"))
    lines = [line.rstrip() for line in seen.splitlines() if line.strip()]
    bars = [line for line in lines if "━" in line or line in ("Epoch 1 of 1", "validating")]  # an empty one is blank
    said = [re.sub(r"[0-9.]+", "#", line) for line in lines if line not in bars]
    of_training = next(k for k, line in enumerate(said) if line.startswith("rtformer_slim"))  # those of the data before
    best = re.sub(r"[0-9.]+", "#", str(Path("run", "best.ckpt")))
    assert said[of_training:] == [
        "rtformer_slim: # million parameters, # classes# # steps of # images (CPU, #-true)#",
        "Epoch # of #: mIoU # (best)",
        f"Trained # steps in # s# The best checkpoint: {best}",
    ]
    data = ("# training pairs", "Classes in", "Caution: ", "`rtseg check-data`")
    assert all(line.startswith(data) for line in said[:of_training]), "\n".join(said)
    assert bool(bars) == terminal
    assert all(len(line) <= WIDTH for line in bars)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"check_val_every_n_epoch": 2}, "is due after step 6 (trainer.check_val_every_n_epoch is 2)"),
        ({}, "is due after step 3,"),
        ({"accumulate_grad_batches": 3, "check_val_every_n_epoch": 2}, "is due after step 2 ("),
        ({"check_val_every_n_epoch": None, "val_check_interval": 40, "val_check_batch": 40},
         "is due after step 40 (trainer.check_val_every_n_epoch is None, trainer.val_check_interval is 40)"),
        ({"limit_val_batches": 0}, "trainer.limit_val_batches is 0"),
        ({"val_check_batch": None}, "was not due yet"),
    ],
)  # fmt: skip
def test_a_training_without_a_validation_says_why(
    changes: dict[str, Any], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = {
        "check_val_every_n_epoch": 1, "val_check_interval": 1.0, "val_check_batch": 3, "num_training_batches": 3,
        "limit_val_batches": 1.0, "accumulate_grad_batches": 1, "max_steps": 2, "estimated_stepping_batches": 2,
        "current_epoch": 0, "global_step": 2, "checkpoint_callbacks": [BestCheckpoint(tmp_path, "val/miou")],
    }  # fmt: skip
    trainer, progress = cast(Any, SimpleNamespace(**usual | changes)), Progress("val/miou", TimeLeft())
    progress.on_train_epoch_start(trainer, cast(Any, None))
    progress.on_train_end(trainer, cast(Any, None))
    said = " ".join(capsys.readouterr().out.split())
    assert "Never validated: " in said
    assert reason in said
    assert said.endswith(f"so there is no score and no best.ckpt, only {tmp_path / 'last.ckpt'}")
