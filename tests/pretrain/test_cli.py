"""The command as its user meets it: trainings of seconds, going on after a kill, bad input."""

import csv
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from pretrain.cli import PretrainCLI
from pretrain.commands import main
from tests.helpers.command import check_refused, exit_status

CONFIGS = sorted((Path(__file__).parents[2] / "pretrain" / "configs").glob("*.yaml"))


@pytest.fixture
def fit(tiny_imagenet: Path) -> list[str]:
    """Flags of a training of two epochs with five steps each."""
    return _flags(tiny_imagenet)


def _flags(tiny_imagenet: Path) -> list[str]:
    return [
        "--model.options.base_channels=8", "--model.optim.warmup_epochs=1", "--model.ema_decay=0.9",
        f"--data.root={tiny_imagenet}", "--data.batch_size=8", "--data.num_workers=1", "--data.augment.image_size=32",
        "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1",
    ]  # fmt: skip


run = partial(exit_status, main)


def logged(folder: Path, key: str) -> dict[int, str]:
    """Step -> value."""
    with (folder / "metrics.csv").open(newline="") as lines:
        return {int(row["step"]): row[key] for row in csv.DictReader(lines) if row[key]}


def losses(folder: Path) -> dict[int, str]:
    return logged(folder, "train/loss")


def scores(folder: Path) -> dict[int, str]:
    return logged(folder, "val/loss")


class Cut(L.Callback):
    """Ends a training without a word, like a power cut.

    Args:
        step: after so many optimizer steps,
        part: and so many parts of the next batch (of two);
        validating: or in the validation that follows.
    """

    def __init__(self, step: int, *, part: int = 0, validating: bool = False) -> None:
        self.step, self.part, self.validating = step, part, validating

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        parts = trainer.fit_loop.total_batch_idx
        if not self.validating and trainer.global_step == self.step and parts % 2 == self.part:
            raise RuntimeError("power cut")

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if self.validating and trainer.global_step == self.step:
            raise RuntimeError("power cut")


def test_fit_validate_resume_export(
    tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "run"
    assert run("fit", *fit, f"--output={output}") == 0
    assert "Learning rate 3.91e-06: 5.00e-04 is for a batch of 1024, this one is 8." in caplog.text
    assert "Global batch 8 = 1 devices x 8 x 1 accumulated" in caplog.text
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml"} <= {path.name for path in output.iterdir()}
    best = torch.load(output / "best.ckpt", weights_only=True)
    assert best["model_card"]["part"] == "classifier"
    assert best["model_card"]["class_names"] == ["n01", "n02", "n03"]
    assert best["scores"]["step"] == best["global_step"]

    assert run("fit", *fit, f"--output={output}") == 2
    assert "holds results" in capsys.readouterr().err

    assert run("validate", *fit, f"--ckpt_path={output / 'best.ckpt'}") == 0
    assert f"top1 {best['scores']['val/top1']:.4f}" in capsys.readouterr().out

    folder = tmp_path / "backbone"
    assert run("export", str(output / "best.ckpt"), "-o", str(folder)) == 0
    assert {path.name for path in folder.iterdir()} >= {"model.safetensors", "config.json", "README.md"}


def train_in_pieces(flags: list[str], folder: Path, cuts: list[Cut], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut as often as there are cuts, gone on with each time from what lies there, then to the end."""
    more = PretrainCLI.more_callbacks
    for cut in cuts:
        monkeypatch.setattr(PretrainCLI, "more_callbacks", lambda self, config, cut=cut: [*more(self, config), cut])
        with pytest.raises(RuntimeError, match="power cut"):
            main(["fit", *flags, f"--output={folder}", *last(folder)])
    monkeypatch.setattr(PretrainCLI, "more_callbacks", more)
    assert run("fit", *flags, f"--output={folder}", *last(folder)) == 0


def last(folder: Path) -> list[str]:
    return [f"--ckpt_path={folder / 'last.ckpt'}"] if (folder / "last.ckpt").is_file() else []


def check_equal(first: Path, second: Path) -> None:
    """Losses, scores, weights and their average, bit for bit."""
    assert losses(first) == losses(second)
    assert scores(first) == scores(second)
    states = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (first, second)]
    assert states[0]["global_step"] == states[1]["global_step"]
    for part in ("state_dict", "ema_state_dict"):
        assert states[0][part].keys() == states[1][part].keys()
        assert all(torch.equal(states[0][part][key], states[1][part][key]) for key in states[0][part])


@pytest.mark.parametrize(
    ("every", "cuts"),
    [
        (1, [Cut(7)]),  # inside an epoch, a part of the next batch is accumulated already
        # again right after going on, and once more
        pytest.param(3, [Cut(4), Cut(3, part=1), Cut(8, part=1)], marks=pytest.mark.slow),
        # in the validation that is due where a checkpoint is due too
        pytest.param(5, [Cut(7), Cut(10, validating=True)], marks=pytest.mark.slow),
    ],
)
def test_a_cut_training_goes_on_bit_for_bit(
    tmp_path: Path, fit: list[str], every: int, cuts: list[Cut], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same losses, same scores, same weights, as if nothing had been."""
    flags = [*fit, "--data.device_batch_size=4", f"--save_every={every}"]
    train_in_pieces(flags, tmp_path / "cut", cuts, monkeypatch)
    check_equal(tmp_path / "cut", whole)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_imagenet: Path) -> Path:
    """The run folder of `fit` with two parts a batch, never cut."""
    output = tmp_path_factory.mktemp("whole") / "run"
    assert run("fit", *_flags(tiny_imagenet), "--data.device_batch_size=4", f"--output={output}") == 0
    return output


def test_checkpoints_are_the_same_with_and_without_compilation(
    tmp_path: Path, fit: list[str], whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = torch.load(whole / "last.ckpt", weights_only=True)["state_dict"].keys()
    assert {key.partition(".")[0] for key in keys} == {"classifier"}
    assert run("validate", *fit, f"--ckpt_path={whole / 'best.ckpt'}") == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr(torch, "compile", lambda forward: forward)  # minutes; what is saved does not depend on it
    assert run("validate", *fit, f"--ckpt_path={whole / 'best.ckpt'}", "--model.compile=true") == 0
    assert capsys.readouterr().out == plain


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, fit: list[str]) -> None:
    """The same by SIGKILL, to the training and the loader's processes."""
    flags = [flag for flag in fit if "max_epochs" not in flag]
    flags += ["--trainer.max_epochs=12", "--save_every=1", "--data.device_batch_size=4"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run("fit", *flags, f"--output={whole}") == 0
    command = [sys.executable, "-m", "pretrain", "fit", *flags, f"--output={cut}"]
    with subprocess.Popen(command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 120
        while not (cut / "last.ckpt").exists() or torch.load(cut / "last.ckpt", mmap=True)["global_step"] < 13:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert 13 <= torch.load(cut / "last.ckpt", mmap=True)["global_step"] < 60
    assert run("fit", *flags, f"--output={cut}", *last(cut)) == 0
    check_equal(cut, whole)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_a_step(config: Path, tmp_path: Path, fit: list[str]) -> None:
    flags = [flag for flag in fit if "max_epochs" not in flag and "warmup" not in flag and "num_workers" not in flag]
    flags += ["--data.num_workers=0", "--trainer.fast_dev_run=1", "--trainer.precision=32-true"]
    flags += ["--model.optim.warmup_epochs=0", "--data.expected_classes=3"]
    assert run("fit", f"--config={config}", *flags, f"--output={tmp_path / 'run'}") == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model.optim.warmpu_epochs=1"], "Did you mean 'model.optim.warmup_epochs'?"),
        (["--model.name=rtformer_slimm"], "Did you mean 'rtformer_slim'?"),
        (["--model.attention=gaf"], "Did you mean 'gfa'?"),
        (["--model.mix.mixup=-1"], "mix.mixup=-1.0 must be at least 0"),
        (["--data.batch_size=6", "--data.device_batch_size=3"], "Mixup pairs images"),
        (["--data.batch_size=64"], "more than the 41 training images"),
        (["--data.expected_classes=1000"], "has 3 classes, data.expected_classes=1000"),
        (["--data.root=/nowhere"], "'/nowhere' does not exist"),
        (["--save_every=0"], "--save_every 0 must be at least 1"),
        (["--model.optim.warmup_epochs=2"], "warmup_epochs=2 is 10 steps, the whole training 10"),
        (["--ckpt_path=/nowhere/best.ckpt"], "'/nowhere/best.ckpt' does not exist"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, fit: list[str], flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused(run("fit", *fit, f"--output={tmp_path / 'run'}", *flags), says, capsys)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--model.attention=sa", "model.attention=sa differs from the checkpoint's gfa+ca"),
        ("--model.name=ddrnet_23_slim", "model.name=ddrnet_23_slim differs from the checkpoint's rtformer_slim"),
        ("--model.mix.mixup=0.8", "model.mix.mixup=0.8 differs from the checkpoint's 0.2"),
        ("--model.optim.lr=1e-3", "model.optim.lr=0.001 differs from the checkpoint's 0.0005"),
        ("--data.batch_size=4", "data.batch_size=4 differs from the checkpoint's 8"),
        ("--data.augment.color_jitter=0.1", "data.augment.color_jitter=0.1 differs from the checkpoint's 0.4"),
        ("--model.ema_decay=0.5", "model.ema_decay=0.5 differs from the checkpoint's 0.9"),
        ("--trainer.max_epochs=3", "begun for 4 steps, now it is 6"),
    ],
)
def test_a_resumed_training_keeps_its_settings(
    tmp_path: Path, fit: list[str], trained: Path, flag: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed = ["--trainer.limit_train_batches=2", f"--ckpt_path={trained}", f"--output={tmp_path / 'other'}"]
    check_refused(run("fit", *fit, *resumed, flag), says, capsys)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_imagenet: Path) -> Path:
    """A checkpoint after one step."""
    output = tmp_path_factory.mktemp("trained")
    flags = [
        "--model.options.base_channels=8", "--model.ema_decay=0.9", "--model.optim.warmup_epochs=1",
        f"--data.root={tiny_imagenet}", "--data.batch_size=8", "--data.num_workers=0", "--data.augment.image_size=32",
        "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.limit_train_batches=2",
    ]  # fmt: skip
    assert run("fit", *flags, f"--output={output}") == 0
    return output / "last.ckpt"
