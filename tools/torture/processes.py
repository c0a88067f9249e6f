"""Two processes against one, in float64 with BatchNorm frozen: one curve. And one of two killed: all end, and resume.

The loss of 50 steps must agree to 1e-9, and the confusion matrix of an odd number of images in every count.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from rtseg.data.files import read_mask
from tools.torture.outcome import Outcome
from tools.torture.trainings import LIMIT, ROOT, Training, difference, draw_data, last_line

CLOSE = 1e-9
GONE = 60.0  # seconds after which no process may be left
_TWO = " --trainer.devices=2 --trainer.strategy=ddp"
CURVE = (
    "--trainer.precision=64-true --trainer.max_epochs=-1 --model.options.drop_path=0 --model.optim.lr=1e-3 "
    "--trainer.callbacks+=tools.torture.parts.FrozenBatchNorm --trainer.callbacks+=tools.torture.parts.Counts"
)
KILLED = Training(
    "one of two processes killed",
    "--trainer.max_epochs=4 --trainer.val_check_interval=2 --model.ema_decay=0.9 --data.num_workers=1" + _TWO,
)


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """Outcomes of the comparison, and of each process that is killed."""
    data = draw_data(folder / "data")
    ignore_some(data / "camvid")
    yield two_against_one(data, folder, 10 if quick else 50)
    begun = time.monotonic()
    if wrong := whole(data, folder):
        yield Outcome("two processes", False, wrong, time.monotonic() - begun)
        return
    for rank in (1,) if quick else (1, 0):
        yield one_killed(rank, data, folder)


def ignore_some(camvid: Path) -> None:
    """Void over another part of each training mask: processes get unequal numbers of labelled pixels."""
    rng = np.random.default_rng(0)
    for file in sorted((camvid / "trainannot").iterdir()):
        mask = read_mask(file)
        mask[: rng.integers(len(mask))] = 11
        cv2.imwrite(str(file), mask)


def two_against_one(data: Path, folder: Path, steps: int) -> Outcome:
    """The same global batches through one process and through two."""
    begun = time.monotonic()
    found = []
    for name, more in (("one", ""), ("two", _TWO)):
        training = Training(name, f"{CURVE} --trainer.max_steps={steps}{more}")
        status, output = run_apart(training, data, folder / name)
        if status != 0:
            said = f"exit {status} of {name}: {last_line(output.with_suffix('.log'))}"
            return Outcome("two processes against one", False, said, time.monotonic() - begun)
        with (output / "metrics.csv").open(newline="") as lines:
            losses = [float(row["train/loss"]) for row in csv.DictReader(lines) if row["train/loss"]]
        found.append((losses, json.loads((output / "counts.json").read_text())))
    (one, counts), (two, their_counts) = found
    furthest = max(abs(a - b) for a, b in zip(one, two, strict=True)) if len(one) == len(two) else float("inf")
    same = counts == their_counts
    said = f"{len(one)} losses within {furthest:.1e}, confusion matrices {'equal' if same else 'differ'}"
    good = len(one) == steps and furthest <= CLOSE and same and sum(map(sum, counts)) > 0
    return Outcome("two processes against one", good, said, time.monotonic() - begun)


def whole(data: Path, folder: Path) -> str:
    """The training of two processes that `one_killed` is compared with. What went wrong, "" where nothing did."""
    status, output = run_apart(KILLED, data, folder / "whole")
    return "" if status == 0 else f"exit {status}: {last_line(output.with_suffix('.log'))}"


def one_killed(rank: int, data: Path, folder: Path) -> Outcome:
    """One process is killed in the middle; the others end by themselves, and the training is resumed."""
    begun, output = time.monotonic(), folder / f"killed_{rank}"
    command, log = KILLED.command(data, output), output.with_suffix(".log")
    started = _start(command, log)
    while started.poll() is None and not (output / "last.ckpt").is_file() and time.monotonic() < begun + LIMIT:
        time.sleep(0.02)
    victim = started.pid if rank == 0 else _rank_1(started.pid)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    while _alive(started.pid) and time.monotonic() < killed + GONE:
        started.poll()
        time.sleep(0.05)
    seconds, left = time.monotonic() - killed, _alive(started.pid)
    for process in left:
        os.kill(process, signal.SIGKILL)
    status, said = started.wait(), last_line(log)
    if not left:
        resumed, _ = run_apart(KILLED, data, output)
        said = f"all gone after {seconds:.0f} s (exit {status}: {said})"
        wrong = difference(folder / "whole", output) if resumed == 0 else f"exit {resumed}: {last_line(log)}"
    else:
        wrong = f"{len(left)} processes left after {GONE:.0f} s"
    return Outcome(f"process {rank} of 2 killed", not wrong, wrong or said, time.monotonic() - begun)


def run_apart(training: Training, data: Path, output: Path) -> tuple[int | None, Path]:
    """Exit status of a training that is left alone."""
    process = _start(training.command(data, output), output.with_suffix(".log"))
    try:
        return process.wait(LIMIT * 2), output
    except subprocess.TimeoutExpired:
        for pid in _alive(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        return None, output


def _start(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """In a session of its own, by which all its processes are known."""
    more = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    program = [sys.executable, "-m", "rtseg", *command]
    with log.open("wb") as said:
        return subprocess.Popen(
            program, env={**os.environ, **more}, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )


def _alive(session: int) -> list[int]:
    """Processes of a session, but for those that have ended and are not waited for."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
        except OSError:
            continue  # it has ended
        if words and int(words[3]) == session and words[0] != "Z":
            found.append(int(entry.name))
    return found


def _rank_1(session: int) -> int:
    """The process that was started as the second of two, not one of its loader's."""
    ranked = [pid for pid in _alive(session) if b"LOCAL_RANK=1" in Path(f"/proc/{pid}/environ").read_bytes()]
    return min(ranked)
