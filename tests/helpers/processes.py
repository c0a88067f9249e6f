"""Trainings on two processes of this machine, as a user starts them."""

import csv
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from rtseg.training.network_module import NetworkModule
from rtseg.training.resumable_data import ResumableData
from rtseg.training.run_cli import RunCLI, run

DDP = ("--trainer.devices=2", "--trainer.strategy=ddp")
_SECONDS = 400


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "rtseg", *words]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def finished(*words: str) -> str:
    """Runs a command of rtseg to its good end, and returns what it said."""
    done = subprocess.run(
        command(*words), capture_output=True, text=True, env=environment(), timeout=_SECONDS, check=False
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    assert "Traceback" not in said
    return said


def killed(*words: str, file: Path, steps: int) -> None:
    """Kills a training, with all of its processes, once its checkpoint is of so many steps."""
    with subprocess.Popen(
        command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, env=environment()
    ) as process:
        end = time.monotonic() + _SECONDS
        while _steps(file) < steps:
            assert process.poll() is None, "it ended before it was killed"
            assert time.monotonic() < end
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)


def _steps(file: Path) -> int:
    return int(torch.load(file, weights_only=True, mmap=True)["global_step"]) if file.is_file() else -1


def check_equal(first: Path, second: Path) -> None:
    """Two checkpoints have the same weights and the same moving average, to the bit."""
    one, other = (torch.load(file, weights_only=True) for file in (first, second))
    for part in ("state_dict", "ema_state_dict"):
        assert one.get(part, {}).keys() == other.get(part, {}).keys()
        for key, value in one.get(part, {}).items():
            assert torch.equal(value, other[part][key]), key


def check_resumes(words: Sequence[str], folder: Path) -> Path:
    """A training that is killed after two steps and resumed ends as one that is not; returns the run folder of that."""
    whole, cut = folder / "whole", folder / "cut"
    finished(*words, f"--output={whole}")
    killed(*words, f"--output={cut}", file=cut / "last.ckpt", steps=2)
    finished(*words, f"--output={cut}", f"--ckpt_path={cut / 'last.ckpt'}")
    check_equal(whole / "last.ckpt", cut / "last.ckpt")
    check_same_scores(last_scores(whole), last_scores(cut))
    return whole


def last_scores(run: Path) -> dict[str, float]:
    """What the last validation of a training logged."""
    with (run / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if any(key.startswith("val/") and row[key] for key in row)]
    return {key: float(value) for key, value in rows[-1].items() if key.startswith("val/") and value}


def validated(
    cli: type[RunCLI], module: type[NetworkModule], data: type[ResumableData], checkpoint: Path, root: Path
) -> dict[str, float]:
    """The scores of a checkpoint by this process alone."""
    words = [
        "validate", f"--ckpt_path={checkpoint}", f"--data.root={root}", "--data.num_workers=0",
        "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
    ]  # fmt: skip
    found = run(cli, module, data, words, "").trainer.callback_metrics
    return {key: float(value) for key, value in found.items() if key.startswith("val/")}


def check_same_scores(first: dict[str, float], second: dict[str, float]) -> None:
    """Equal within 1e-6; NaN equals NaN."""
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert value == second[key] or abs(value - second[key]) <= 1e-6 or math.isnan(value + second[key]), key
