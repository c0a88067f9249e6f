"""What Lightning refuses is a sentence; what it does not raise itself stays what it is."""

import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch.demos.boring_classes import BoringModel

from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.training.failures import check_trainer, in_a_sentence
from tests.helpers.command import check_refused, exit_status


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_epochs": -5}, "`max_epochs` must be a non-negative integer"),
        ({"limit_val_batches": 1.5}, "invalid value 1.5 for limit_val_batches"),
        ({"strategy": "no"}, "invalid strategy name"),
        ({"accelerator": "no"}, "invalid accelerator name"),
        ({"devices": 0}, "not a valid input"),
        ({"precision": "33"}, "Precision '33' is invalid"),
    ],
)
def test_settings_of_the_trainer(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says), in_a_sentence():
        L.Trainer(**{"accelerator": "cpu", "logger": False, **options})


@pytest.mark.parametrize("error", [RuntimeError("power cut"), ValueError("a fault of ours"), OSError(5, "disk")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error), match=re.escape(str(error))), in_a_sentence():
        raise error


@pytest.mark.parametrize("changes", [{"loops": {"fit_loop": 5}}, {"loops": {}}, {"optimizer_states": [{"state": 7}]}])
def test_a_state_that_cannot_be_resumed(changes: dict[str, Any], tmp_path: Path) -> None:
    def fit(resumed: Path | None) -> L.Trainer:
        trainer = L.Trainer(
            accelerator="cpu", max_steps=1 if resumed is None else 2, logger=False, enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False,
        )  # fmt: skip
        trainer.fit(BoringModel(), ckpt_path=resumed, weights_only=True)
        return trainer

    file = tmp_path / "last.ckpt"
    fit(None).save_checkpoint(file)
    torch.save({**torch.load(file, weights_only=True), **changes}, file)
    with pytest.raises(UserError, match=r"holds a state that no training writes \(\w+Error: "), in_a_sentence():
        fit(file)


def test_a_killed_loader_process_is_a_sentence() -> None:
    with pytest.raises(UserError, match="usually for want of memory"), in_a_sentence():
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("val_check_interval", 0, r"trainer\.val_check_interval=0 must be above 0"),
        ("check_val_every_n_epoch", 0, "must be at least 1"),
        ("accumulate_grad_batches", 0, "must be at least 1"),
        ("devices", "99", "a device is a process, and this machine has no more cores"),
    ],
)
def test_what_lightning_does_not_look_at(key: str, value: Any, says: str) -> None:
    good = {"val_check_interval": 1.0, "check_val_every_n_epoch": None, "accumulate_grad_batches": 1, "devices": "auto"}
    check_trainer(Namespace(accelerator="cpu", **good))
    with pytest.raises(UserError, match=says):
        check_trainer(Namespace(accelerator="cpu", **{**good, key: value}))


def test_more_batches_between_validations_than_there_are(
    tmp_path: Path, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}
    flags = [
        *(f"--model.options.{key}={value}" for key, value in options.items()), "--model.optim.warmup_steps=1",
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=2", "--data.crop_size=[32,32]",
        "--data.num_workers=0", "--fps.enabled=false", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
    ]  # fmt: skip
    status = exit_status(main, "fit", *flags, f"--output={tmp_path}", "--trainer.val_check_interval=100")
    check_refused(status, "val_check_interval=100 is more than the 5 batches of an epoch: give at most 5", capsys)


def test_what_fails_in_clearing_away_a_stopped_training_changes_nothing() -> None:
    failed = RuntimeError("Please call `iter(combined_loader)` first.")
    failed.__context__ = SystemExit(75)
    with pytest.raises(SystemExit, match="75"), in_a_sentence():
        raise failed
