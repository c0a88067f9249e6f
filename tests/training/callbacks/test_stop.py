"""Trainings that are stopped and resumed, in the test's own process: rows and bits are those of one never stopped."""

import csv
import os
import shutil
import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
import torch

from rtseg.cli import main
from rtseg.errors import STOPPED
from rtseg.speed.benchmark import benchmark
from rtseg.training.callbacks import fps_monitor
from rtseg.training.cli import RTSegCLI
from tests.helpers.command import check_refused, exit_status

run = partial(exit_status, main)


@pytest.fixture
def fit(tiny_camvid: Path) -> list[str]:
    """Flags of a training of two epochs with five steps each."""
    return _flags(tiny_camvid)


def _flags(tiny_camvid: Path) -> list[str]:
    options = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2}
    return [
        "fit", *(f"--model.options.{key}={value}" for key, value in options.items()),
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=2", "--data.crop_size=[32,32]",
        "--data.num_workers=0", "--model.optim.warmup_steps=2", "--trainer.accelerator=cpu", "--trainer.max_epochs=2",
        "--trainer.log_every_n_steps=2", "--fps.enabled=false", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_camvid: Path) -> Path:
    """The run folder of `fit`, never stopped."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run(*_flags(tiny_camvid), f"--output={output}") == 0
    return output


class Cut(L.Callback):
    """Takes the run folder away, and then ends the training without a word, like a power cut, before its ninth step."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step in (3, 6):
            shutil.rmtree(trainer.default_root_dir)
        if trainer.global_step == 8:
            raise RuntimeError("power cut")


class Signal(L.Callback):
    """Sends a signal to this process inside a training step or a validation.

    Args:
        step: steps that were made before.
    """

    def __init__(self, number: signal.Signals, *, step: int, validating: bool = False) -> None:
        self.number, self.step, self.validating = number, step, validating

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if not self.validating and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.validating and trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def stopped_and_resumed(
    flags: Sequence[str], output: Path, signals: Sequence[L.Callback], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = RTSegCLI.more_callbacks
    for one in (*signals, None):
        own = [one] if one else []
        monkeypatch.setattr(RTSegCLI, "more_callbacks", lambda self, config, own=own: [*more(self, config), *own])
        resumed = [f"--ckpt_path={output / 'last.ckpt'}"] if (output / "last.ckpt").is_file() else []
        assert run(*flags, f"--output={output}", *resumed) == (STOPPED if one else 0)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def rows(folder: Path) -> list[dict[str, str]]:
    """Of metrics.csv, without what is timed."""
    with (folder / "metrics.csv").open(newline="") as lines:
        return [{key: value for key, value in row.items() if "speed/" not in key} for row in csv.DictReader(lines)]


def check_equal(first: Path, second: Path) -> None:
    """Rows and weights."""
    assert rows(first) == rows(second)
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (first, second)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[1])


def test_stopped_again_and_again_it_makes_the_same_rows_and_bits(
    tmp_path: Path, fit: list[str], whole: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signals = [
        Signal(signal.SIGINT, step=0, validating=True),  # before the first step
        Signal(signal.SIGINT, step=1),  # a step that is logged
        Signal(signal.SIGHUP, step=5, validating=True),
        Signal(signal.SIGTERM, step=6),  # one that is not
    ]
    (tmp_path / "run").mkdir()  # as it is left by a training that was killed before its first checkpoint
    (tmp_path / "run" / "config.yaml").write_text("# lightning.pytorch==2\n")
    (tmp_path / "run" / "metrics.csv").write_text("step,train/loss\n1,3.5\n")
    stopped_and_resumed(fit, tmp_path / "run", signals, monkeypatch)
    check_equal(tmp_path / "run", whole)
    said = capfd.readouterr().out
    assert "Stopped at step 0. There is no checkpoint yet: the same command starts again" in said
    for step in (2, 5, 7):
        assert f"Stopped at step {step}. Resume with the same command and --ckpt_path {tmp_path}/run/last.ckpt" in said


def test_a_stop_while_the_network_is_timed_is_the_last_that_is_said(
    tmp_path: Path, fit: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return benchmark(*arguments)

    monkeypatch.setattr(fps_monitor, "benchmark", interrupted)
    flags = [*fit, "--fps.enabled=true", "--fps.seconds=0.01", "--trainer.num_sanity_val_steps=0"]
    assert run(*flags, f"--output={tmp_path}") == STOPPED
    said = capfd.readouterr().out
    assert "Speed:" not in said
    assert said.splitlines()[-1].startswith("Stopped at step 1. Resume with the same command")


def test_it_is_saved_by_the_clock_without_a_trace(
    tmp_path: Path, fit: list[str], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In what is trained, and in what is logged; also where its folder vanished."""
    output = tmp_path / "run"
    flags, more = [*fit, "--save_every=0.001s", f"--output={output}"], RTSegCLI.more_callbacks
    monkeypatch.setattr(RTSegCLI, "more_callbacks", lambda self, config: [*more(self, config), Cut()])
    with pytest.raises(RuntimeError, match="power cut"):
        run(*flags)
    assert torch.load(output / "last.ckpt", weights_only=True)["global_step"] == 8
    monkeypatch.setattr(RTSegCLI, "more_callbacks", more)
    assert run(*flags, f"--ckpt_path={output / 'last.ckpt'}") == 0
    check_equal(output, whole)


def test_a_validation_that_fails_costs_no_epoch(
    tmp_path: Path, fit: list[str], whole: Path, tiny_camvid: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its last mask has an unknown class, which no look at files finds. Mended, the training is as it was."""
    data, output = shutil.copytree(tiny_camvid, tmp_path / "data"), tmp_path / "run"
    mask = data / "valannot" / "002.png"
    good = mask.read_bytes()
    cv2.imwrite(str(mask), np.full((40, 56), 77, np.uint8))
    flags = [*fit, f"--data.root={data}", f"--output={output}"]
    assert run(*flags) == 2
    said = capfd.readouterr()
    assert f"{mask}: label 77" in said.err
    assert (
        f"the weights of step 5 are saved. When its cause is repaired, the same command with --ckpt_path {output}"
        in (said.out + said.err)
    )
    mask.write_bytes(good)
    assert run(*flags, f"--ckpt_path={output / 'last.ckpt'}") == 0
    check_equal(output, whole)


def test_a_log_with_a_score_is_a_result(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.csv").write_text("step,val/miou\n9,0.5\n")
    check_refused(run(*fit, f"--output={tmp_path}"), "holds results (metrics.csv)", capsys)
