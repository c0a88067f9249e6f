"""The command as its user meets it: trainings of seconds, going on after a kill, bad input."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from pretrain.__main__ import main
from pretrain.cli import PretrainCLI

CONFIGS = sorted((Path(__file__).parents[2] / "pretrain" / "configs").glob("*.yaml"))


@pytest.fixture
def fit(tiny_imagenet: Path) -> list[str]:
    """Flags of a training of two epochs with five steps each."""
    return [
        "--model.options.base_channels=8", "--model.optim.warmup_epochs=1", "--model.ema_decay=0.9",
        f"--data.root={tiny_imagenet}", "--data.batch_size=8", "--data.num_workers=1", "--data.augment.image_size=32",
        "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1",
    ]  # fmt: skip


def run(*args: str) -> int:
    """Exit status of the command."""
    try:
        main(list(args))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def losses(folder: Path) -> dict[int, str]:
    with (folder / "metrics.csv").open(newline="") as lines:
        return {int(row["step"]): row["train/loss"] for row in csv.DictReader(lines) if row["train/loss"]}


class Cut(L.Callback):
    """Ends a training without a word, like a power cut."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
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


def test_a_cut_training_goes_on_bit_for_bit(tmp_path: Path, fit: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of an epoch and of what is accumulated: same losses, same weights, as if nothing had been."""
    flags = [*fit, "--data.device_batch_size=4", "--save_every=1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run("fit", *flags, f"--output={whole}") == 0
    callbacks = PretrainCLI.more_callbacks
    monkeypatch.setattr(PretrainCLI, "more_callbacks", lambda self, config: [Cut(7)])
    with pytest.raises(RuntimeError, match="power cut"):
        main(["fit", *flags, f"--output={cut}"])
    monkeypatch.setattr(PretrainCLI, "more_callbacks", callbacks)
    assert torch.load(cut / "last.ckpt", weights_only=True)["global_step"] == 7
    assert run("fit", *flags, f"--output={cut}", f"--ckpt_path={cut / 'last.ckpt'}") == 0
    assert losses(cut) == losses(whole)
    first, second = (torch.load(folder / "last.ckpt", weights_only=True) for folder in (whole, cut))
    assert first["global_step"] == second["global_step"] == 10
    for part in ("state_dict", "ema_state_dict"):
        assert first[part].keys() == second[part].keys()
        assert all(torch.equal(first[part][key], second[part][key]) for key in first[part])


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, fit: list[str]) -> None:
    """The same by SIGKILL, to the training and the loader's processes."""
    flags = [*[flag for flag in fit if "max_epochs" not in flag], "--trainer.max_epochs=12", "--save_every=1"]
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
    step = torch.load(cut / "last.ckpt", mmap=True)["global_step"]
    assert 13 <= step < 60
    assert run("fit", *flags, f"--output={cut}", f"--ckpt_path={cut / 'last.ckpt'}") == 0
    assert losses(cut) == losses(whole)
    first, second = (torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_trains_a_step(config: Path, tmp_path: Path, fit: list[str]) -> None:
    flags = [flag for flag in fit if "max_epochs" not in flag and "warmup" not in flag and "num_workers" not in flag]
    flags += ["--data.num_workers=0", "--trainer.fast_dev_run=1", "--trainer.precision=32-true"]
    flags += ["--model.optim.warmup_epochs=0"]
    assert run("fit", f"--config={config}", *flags, f"--output={tmp_path / 'run'}") == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model.optim.warmpu_epochs=1"], "Did you mean 'model.optim.warmup_epochs'?"),
        (["--model.name=rtformer_slimm"], "Did you mean 'rtformer_slim'?"),
        (["--model.attention=gaf"], "Did you mean 'gfa'?"),
        (["--model.mix.mixup=-1"], "mix.mixup=-1.0 must not be negative"),
        (["--data.batch_size=6", "--data.device_batch_size=3"], "Mixup pairs images"),
        (["--data.batch_size=64"], "more than the 41 training images"),
        (["--data.root=/nowhere"], "data.root=/nowhere: there is no such folder"),
        (["--save_every=0"], "--save_every=0 must be at least 1"),
        (["--model.optim.warmup_epochs=2"], "warmup_epochs=2 is 10 steps, the whole training 10"),
        (["--ckpt_path=/nowhere/best.ckpt"], "/nowhere/best.ckpt does not exist"),
    ],
)
def test_bad_input_is_named(
    tmp_path: Path, fit: list[str], flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", *fit, f"--output={tmp_path / 'run'}", *flags) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--model.attention=sa"], "model.attention=sa differs from the checkpoint's gfa+ca"),
        (["--model.name=ddrnet_23_slim"], "model.name=ddrnet_23_slim differs from the checkpoint's rtformer_slim"),
        (["--model.mix.mixup=0.8"], "model.mix.mixup=0.8 differs from the checkpoint's 0.2"),
        (["--model.optim.lr=1e-3"], "model.optim.lr=0.001 differs from the checkpoint's 0.0005"),
        (["--data.batch_size=4"], "batch_size=8"),
    ],
)
def test_a_resumed_training_keeps_its_settings(
    tmp_path: Path, fit: list[str], trained: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [*fit, f"--ckpt_path={trained}", f"--output={tmp_path / 'other'}", *flags]
    assert run("fit", *flags) == 2
    assert says in capsys.readouterr().err


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
