"""Where commands write: one at a time, and on a disk that takes no more."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from pretrain.commands import main as pretrain
from rtseg.cli import main as rtseg
from rtseg.errors import STOPPED
from rtseg.output.lock import locked_folder, locked_target
from tests.helpers.command import check_refused, exit_status
from tests.helpers.disk import full_disk
from tests.helpers.networks import tiny_segmenter
from tests.helpers.run_folder import log_rows, write_checkpoint, write_log

PRETRAIN = ("make-shards", "curves", "table2")
HALF_A_SECOND = ("--input-size", "64", "64", "--seconds", "0.1")
# Command -> whether it writes a folder or a file, and its words. CKPT, RUN, IMAGES, CLASSES stand for what `given`
# makes, OUT for the place.
COMMANDS: dict[str, tuple[Callable, str, tuple[str, ...]]] = {
    "predict": (locked_folder, "out", ("CKPT", "IMAGES", "-o", "OUT")),
    "visualize": (locked_folder, "out", ("CKPT", "IMAGES/0.png", "-o", "OUT")),
    "complexity": (locked_folder, "out", ("-o", "OUT")),
    "compare": (locked_folder, "out", ("--attention", "gfa+ca", "-o", "OUT", *HALF_A_SECOND)),
    "make-data": (locked_target, "out", ("-n", "2", "--number-val", "2", "--size", "64", "64", "-o", "OUT")),
    "export": (locked_target, "out.onnx", ("CKPT", "-o", "OUT", "--input-size", "64", "64")),
    "report": (locked_target, "out.html", ("RUN", "-o", "OUT")),
    "benchmark": (locked_target, "out.json", ("CKPT", "--backend", "eager", "-o", "OUT", *HALF_A_SECOND)),
    "make-shards": (locked_folder, "out", ("CLASSES", "-o", "OUT")),
    "curves": (locked_target, "out.svg", ("RUN", "-o", "OUT")),
    "table2": (locked_target, "out.json", ("rtformer_slim", "--device", "cpu", "-o", "OUT")),
}
WRITES_AT_ONCE = [
    "predict", "visualize", "make-data", "report", "make-shards", pytest.param("export", marks=pytest.mark.slow)
]  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    tiny_segmenter().save_pretrained(folder / "CKPT")
    (folder / "RUN").mkdir()
    write_log(folder / "RUN", log_rows())
    write_checkpoint(folder / "RUN")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    for name in ("IMAGES/0.png", "CLASSES/train/n01/0.png", "CLASSES/val/n01/0.png"):
        (folder / name).parent.mkdir(parents=True)
        cv2.imwrite(str(folder / name), noise)
    return folder


def run(name: str, given: Path, out: Path) -> int:
    words = [word.replace("OUT", str(out)) for word in COMMANDS[name][2]]
    words = [str(given / word) if (given / word).exists() else word for word in words]
    return exit_status(pretrain if name in PRETRAIN else rtseg, name, *words)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_second_command_is_told_of_the_first(
    name: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    locked, place, _ = COMMANDS[name]
    with locked(tmp_path / place):
        check_refused(run(name, given, tmp_path / place), "is in use by `", capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", WRITES_AT_ONCE)
def test_a_full_disk_is_one_sentence_and_leaves_nothing_unfinished(
    name: str, given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / COMMANDS[name][1]
    with full_disk(500):
        check_refused(run(name, given, out), "cannot be written: File too large (", capsys)
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in left if name.startswith(".") or name.endswith((".onnx", ".html"))] == []


def program(*words: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "rtseg", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_two_trainings_in_one_folder(tmp_path: Path, tiny_camvid: Path) -> None:
    """The first goes on, and is gone on with after it was killed."""
    folder = tmp_path / "run"
    fit = partial(
        program, "fit", "--model.options.base_channels=8", "--data.dataset=camvid", f"--data.root={tiny_camvid}",
        "--data.batch_size=3", "--data.crop_size=[32,48]", "--data.num_workers=1", "--trainer.accelerator=cpu",
        "--fps.enabled=false", f"--output={folder}", "--trainer.max_epochs=1000",
    )  # fmt: skip
    first = fit()
    wait_for((folder / ".lock").exists)
    second = fit()
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 2
    assert f"fit --model.options.base_channels=8 --data.dataset=camvid --data.root={tiny_camvid}" in said
    assert f"(process {first.pid} on " in said
    assert first.poll() is None
    wait_for((folder / "last.ckpt").exists)
    first.kill()
    first.communicate(timeout=60)
    assert (folder / ".lock").exists()
    last = (folder / "last.ckpt").stat().st_mtime_ns
    third = fit("--ckpt_path", str(folder / "last.ckpt"))
    wait_for(lambda: (folder / "last.ckpt").stat().st_mtime_ns > last)
    third.terminate()
    said = third.communicate(timeout=300)[0]
    assert third.returncode == STOPPED, said
    assert not (folder / ".lock").exists()


@pytest.mark.slow
def test_make_data_twice_and_killed(tmp_path: Path) -> None:
    """One of two draws; what a killed one leaves is not taken for a data set, and the next one is whole."""
    out = tmp_path / "data"
    words = ("make-data", "-o", str(out), "-n", "200", "--number-val", "10", "--size", "192", "256")
    first = program(*words, "--seed", "1")
    wait_for((tmp_path / ".data.lock").exists)
    second = program(*words, "--seed", "2")
    said = second.communicate(timeout=300)[0]
    if first.poll() is None:
        assert second.returncode == 2
        assert "in use by `python -m rtseg make-data" in said
    first.kill()
    first.communicate(timeout=60)
    third = program(*words, "--seed", "3")
    assert third.communicate(timeout=300)[0]
    whole = [path.name for path in tmp_path.iterdir()]
    assert whole == ["data"]
    assert len(os.listdir(out / "train")) == len(os.listdir(out / "trainannot")) == 200
