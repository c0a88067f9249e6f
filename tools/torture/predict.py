"""`rtseg predict` stopped and killed while it writes a folder, and resumed: the files of one that was left alone.

A stopped one ends with status 75 and says how many images its record has. No file is half-written.
"""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from rtseg.deploy.folder.result_names import RECORD, result_files
from tools.torture import materials
from tools.torture.outcome import Outcome
from tools.torture.process import environment

_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_IMAGES = 200
_WAIT = 300.0  # seconds in which a command writes its next images


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """Twelve interruptions of one folder (three if quick), then the end."""
    checkpoint = materials.train(folder) / "best.ckpt"
    images = folder / "images"
    images.mkdir()
    draw = np.random.default_rng(4)
    for k in range(_IMAGES):
        small = draw.integers(0, 256, (5, 6, 3), np.uint8)
        cv2.imwrite(str(images / f"{k:03d}.png"), cv2.resize(small, (96 + k % 7, 72)))
    _start(checkpoint, images, folder / "whole").communicate()
    chance, number = random.Random(4), 3 if quick else 12
    for k in range(number):
        yield _interrupted(checkpoint, images, folder / "out", _SIGNALS[k % 3], chance, _IMAGES // (number + 2))
    begin = time.perf_counter()
    process = _start(checkpoint, images, folder / "out", "--resume")
    process.communicate()
    whole, resumed = (_contents(folder / name) for name in ("whole", "out"))
    names = [json.loads(line)["name"] for line in (folder / "out" / RECORD).read_text().splitlines()[1:]]
    good = process.returncode == 0 and whole == resumed and sorted(names) == [f"{k:03d}" for k in range(_IMAGES)]
    said = f"status {process.returncode}, {len(names)} lines, files {'equal' if whole == resumed else 'DIFFER'}"
    yield Outcome("resumed to the end", good, said, time.perf_counter() - begin)


def _interrupted(
    checkpoint: Path, images: Path, out: Path, kind: signal.Signals, chance: random.Random, most: int
) -> Outcome:
    """One command that is stopped after some of its images."""
    begin, before = time.perf_counter(), _lines(out)
    process = _start(checkpoint, images, out, "--resume")
    goal = before + chance.randint(1, most)
    while process.poll() is None and _lines(out) < goal and time.perf_counter() - begin < _WAIT:
        time.sleep(0.001)
    time.sleep(0.05 * chance.random())
    process.send_signal(kind)
    printed = process.communicate()[0]
    lines, expected = _lines(out), -kind if kind == signal.SIGKILL else 75
    counted = re.search(rf"Stopped\. (\d+) of {_IMAGES} images are written", printed)
    right = kind == signal.SIGKILL or (counted is not None and int(counted[1]) == lines)
    said = f"status {process.returncode}, {lines} lines, {counted[0] if counted else 'nothing said'}"
    good = process.returncode == expected and right and lines >= goal
    return Outcome(f"{kind.name} after {goal - before} images", good, said, time.perf_counter() - begin)


def _start(checkpoint: Path, images: Path, out: Path, *flags: str) -> "subprocess.Popen[str]":
    words = ["predict", str(checkpoint), str(images), "-o", str(out), "--engine", "eager", *flags]
    return subprocess.Popen(
        [sys.executable, "-m", "rtseg", *words],
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _lines(out: Path) -> int:
    """Images in the record whose lines are whole."""
    record = out / RECORD
    return max(0, record.read_text().count("\n") - 1) if record.is_file() else 0


def _contents(out: Path) -> dict[str, bytes]:
    """Every file but the record, whose order is that of writing, and the lock."""
    kept = {file.name: file.read_bytes() for file in out.iterdir() if file.name not in (RECORD, ".lock")}
    assert len(kept) >= len(result_files("")) * _IMAGES
    return kept
