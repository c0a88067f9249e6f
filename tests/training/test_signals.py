"""Signals as terminals and schedulers send them, to processes of their own."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rtseg.errors import STOPPED

pytestmark = pytest.mark.slow
DDP = ["--trainer.devices=2", "--trainer.strategy=ddp"]


@pytest.fixture
def command(tmp_path: Path, tiny_camvid: Path) -> list[str]:
    """A training without end."""
    options = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}
    return [
        sys.executable, "-m", "rtseg", "fit", *(f"--model.options.{key}={value}" for key, value in options.items()),
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=2", "--data.crop_size=[32,32]",
        "--data.num_workers=1", "--model.optim.warmup_steps=2", "--trainer.accelerator=cpu", "--save_every=1",
        "--trainer.max_epochs=100000", "--trainer.check_val_every_n_epoch=100000", "--fps.enabled=false",
        "--model.loss.aux_weight=0", f"--output={tmp_path / 'run'}",
    ]  # fmt: skip


def started(command: list[str], ready: Callable[[], bool], **options: int | bool) -> subprocess.Popen:
    process = subprocess.Popen(command, start_new_session=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **options)  # type: ignore[call-overload]
    end = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, f"it ended before, with status {process.returncode}"
        assert time.monotonic() < end
        time.sleep(0.1)
    return process


def check_all_ended(group: int) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    raise AssertionError("a process is left")


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["one", "all"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("more", [[], DDP], ids=["alone", "two"])
def test_a_signal_to_one_or_to_all(
    tmp_path: Path, command: list[str], send: Callable[[int, int], None], number: int, more: list[str]
) -> None:
    last = tmp_path / "run" / "last.ckpt"
    process = started([*command, *(["--data.batch_size=4", *more] if more else [])], last.exists)
    send(process.pid, number)
    assert process.wait(60) == STOPPED
    check_all_ended(process.pid)
    assert torch.load(last, weights_only=True)["global_step"] > 0


def test_a_signal_before_the_first_step(tmp_path: Path, command: list[str]) -> None:
    """While two processes start."""
    ready = (tmp_path / "run" / "config.yaml").exists
    process = started([*command, "--data.batch_size=4", *DDP], ready)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(90) == STOPPED
    check_all_ended(process.pid)


def test_a_closed_terminal(tmp_path: Path, command: list[str]) -> None:
    """With a progress bar, whose output then has nowhere to go."""
    last = tmp_path / "run" / "last.ckpt"
    ours, theirs = pty.openpty()
    program = (
        "import fcntl, sys, termios, os; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = started(
        [sys.executable, "-c", program, *command], last.exists, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    os.close(ours)
    assert process.wait(60) == STOPPED
    check_all_ended(process.pid)
