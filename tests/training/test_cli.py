import csv
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import cv2
import lightning as L
import numpy as np
import pytest
import torch

from rtseg.cli import main
from rtseg.errors import STOPPED
from rtseg.training.callbacks import fps_monitor
from rtseg.training.callbacks.stop import StopGracefully
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from tests.helpers.command import check_refused, exit_status
from tests.helpers.fresh import run_fresh

TINY_OPTIONS = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2}


@pytest.fixture
def fit(tiny_camvid: Path) -> list[str]:
    """Flags of a training of two epochs with three steps each."""
    return _flags(tiny_camvid)


def _flags(tiny_camvid: Path) -> list[str]:
    options = [f"--model.options.{key}={value}" for key, value in TINY_OPTIONS.items()]
    return [
        "--model.ema_decay=0.9", "--model.optim.warmup_steps=2", *options,
        "--data.dataset=camvid", f"--data.root={tiny_camvid}", "--data.batch_size=3", "--data.crop_size=[32,48]",
        "--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1",
        "--fps.enabled=false",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_camvid: Path) -> Path:
    """A checkpoint of `fit`'s network after one step, whose data are resized for evaluation."""
    output = tmp_path_factory.mktemp("trained")
    flags = [*_flags(tiny_camvid), "--data.eval_resize=[32,64]", "--trainer.max_steps=1"]
    assert run("fit", *flags, f"--output={output}") == 0
    return output / "last.ckpt"


run = partial(exit_status, main)


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_fit_validate_resume(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "run"
    fit = [*fit, "--fps.enabled=true", "--fps.seconds=0.01", "--data.num_workers=1"]
    assert run("fit", *fit, f"--output={output}") == 0
    assert {"best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "pictures"} <= {p.name for p in output.iterdir()}
    log = rows(output / "metrics.csv")
    logged = {key for row in log for key, value in row.items() if value}
    assert {
        "train/loss",
        "val/loss",
        "val/miou",
        "val/iou_car",
        "speed/fps",
        "speed/latency_ms",
        "speed/data_wait",
    } <= logged
    best = max(float(row["val/miou"]) for row in log if row["val/miou"])
    capsys.readouterr()

    last = (output / "last.ckpt").rename(tmp_path / "last.ckpt")  # as where it was never written whole
    assert run("fit", *fit, f"--output={output}") == 2
    refused = capsys.readouterr().err
    assert "holds results" in refused
    assert f"resume it with --ckpt_path {output / 'best.ckpt'}" in refused
    last.rename(output / "last.ckpt")

    assert run("validate", *fit, f"--ckpt_path={output / 'best.ckpt'}") == 0
    assert f"mIoU {best:.4f}" in capsys.readouterr().out

    more = [flag for flag in fit if "max_epochs" not in flag] + [
        "--trainer.max_epochs=3",
        f"--ckpt_path={output / 'last.ckpt'}",
    ]
    (output / ".torn.ckpt-unfinished").touch()
    assert run("fit", *more, f"--output={output}") == 0
    assert list(output.glob(".*-unfinished")) == []
    resumed = rows(output / "metrics.csv")
    steps = [int(row["step"]) for row in resumed if row["train/loss"]]
    assert steps == list(range(9))
    assert [row["val/miou"] for row in resumed if row["val/miou"]][:2] == [
        row["val/miou"] for row in log if row["val/miou"]
    ]

    first = torch.load(output / "last.ckpt", weights_only=True)
    torch.save({**first, "global_step": 4}, output / "older.ckpt")
    assert run("fit", *more[:-1], f"--ckpt_path={output / 'older.ckpt'}", f"--output={output}") == 2
    assert "later steps" in capsys.readouterr().err
    classes = [flag for flag in fit if "data.dataset" not in flag] + ["--data.dataset=cityscapes"]
    assert run("validate", *classes, f"--ckpt_path={output / 'best.ckpt'}") == 2
    assert "11 classes, the data set 19" in capsys.readouterr().err

    assert run("validate", *fit, "--model.attention=sa", f"--ckpt_path={output / 'best.ckpt'}") == 2
    assert "set --model.attention=gfa+ca" in capsys.readouterr().err
    other = [flag.replace("cross_size=2", "cross_size=3") for flag in fit]
    assert run("validate", *other, f"--ckpt_path={output / 'best.ckpt'}") == 2
    assert "cross_size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "says"),
    {
        "--model.atention=sa": "Did you mean 'model.attention'?",
        "--model.attention=gaf": "Did you mean 'gfa'?",
        "--model.name=rtformer_slimm": "Did you mean 'rtformer_slim'?",
        "--model.options.cross_sizes=3": "Did you mean 'cross_size'?",
        "--data.dataset=camvit": "Did you mean 'camvid'?",
        "--data.batch_size=many": "data.batch_size",
        "--data.batch_size=1": "data.batch_size=1",
        "--data.batch_size=500": "more than the 10 training images",
        "--data.root=/nowhere": "/nowhere",
        "--ckpt_path=last": "--ckpt_path: 'last' does not exist",
        "--ckpt_path=/nowhere/best.ckpt": "'/nowhere/best.ckpt' does not exist",
        "--config=/nowhere.yaml": "/nowhere.yaml",
        "--model.weights=/nowhere": "/nowhere",
    }.items(),
)
def test_bad_input_is_named(
    tmp_path: Path, fit: list[str], flag: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused(run("fit", *fit, f"--output={tmp_path / 'run'}", flag), says, capsys)


def test_a_command_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(run("validate"), "--data.dataset and --data.root must be given", capsys)


def test_cut_files_are_named_before_the_first_step(
    tmp_path: Path, fit: list[str], tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_camvid, tmp_path / "data")
    for file in (last := max((data / "val").iterdir()), data / "trainannot" / "003.png"):
        file.write_bytes(file.read_bytes()[:-20])
    flags = [f"--data.root={data}", f"--output={tmp_path / 'run'}"]
    check_refused(run("fit", *fit, *flags), f"{last}: truncated", capsys)
    assert not list((tmp_path / "run").glob("*.ckpt"))


@pytest.fixture
def bad_labels(tmp_path: Path, fit: list[str]) -> list[str]:
    """Flags of a training on label files that are all wrong."""
    for name in ("train", "trainannot", "val", "valannot"):
        (tmp_path / name).mkdir()
        for k in range(3):
            size = (8, 8) if "annot" in name else (8, 8, 3)
            cv2.imwrite(str(tmp_path / name / f"{k}.png"), np.full(size, 77, np.uint8))
    return ["fit", *fit, f"--data.root={tmp_path}", f"--output={tmp_path / 'run'}"]


def check_bad_label_is_named(status: int, error: str) -> None:
    assert status == 2
    assert "annot" in error
    assert "77" in error
    assert "Traceback" not in error


def test_bad_label_in_a_loader_process_is_named(bad_labels: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    status = run(*bad_labels, "--data.num_workers=1")
    check_bad_label_is_named(status, capfd.readouterr().err)


@pytest.mark.slow
def test_bad_label_in_a_loader_of_several_processes_is_named(bad_labels: list[str]) -> None:
    devices = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.batch_size=2", "--data.num_workers=1"]
    command, environment = (
        [sys.executable, "-m", "rtseg", *bad_labels, *devices],
        {**os.environ, "OMP_NUM_THREADS": "1"},
    )
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    check_bad_label_is_named(done.returncode, done.stderr)


def test_validate_needs_weights(fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", *fit) == 2
    assert "--ckpt_path" in capsys.readouterr().err


def test_damaged_checkpoint_is_named(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "best.ckpt").write_bytes(b"PK\x03\x04 cut off")
    assert run("validate", *fit, f"--ckpt_path={tmp_path / 'best.ckpt'}") == 2
    assert "damaged" in capsys.readouterr().err


INTERRUPTED = """
import os, pathlib, signal, threading, time
from rtseg.cli import main
from rtseg.errors import STOPPED
def interrupt():
    while not pathlib.Path({best!r}).exists():
        time.sleep(0.05)
    os.killpg(0, signal.SIGINT)
os.setsid()
threading.Thread(target=interrupt, daemon=True).start()
main(["fit", *{flags!r}])
"""


def test_ctrl_c_leaves_a_checkpoint_to_go_on_from(tmp_path: Path, fit: list[str]) -> None:
    """As a terminal sends it: to the loader's processes as well."""
    output = tmp_path / "run"
    flags = [flag for flag in fit if "max_epochs" not in flag] + [
        "--trainer.max_epochs=100000",
        "--trainer.num_sanity_val_steps=0",
        "--data.num_workers=1",
        f"--output={output}",
    ]
    status, *streams = run_fresh(INTERRUPTED.format(best=str(output / "best.ckpt"), flags=flags), tmp_path)
    assert status == STOPPED
    said = "".join(streams)
    assert f"--ckpt_path {output / 'last.ckpt'}" in said
    assert "Traceback" not in said
    step = torch.load(output / "last.ckpt", weights_only=True)["global_step"]
    assert f"Stopped at step {step}" in said


@pytest.mark.slow
def test_two_processes(tmp_path: Path, fit: list[str]) -> None:
    """They share every batch and every validation image; what they log is the score of the whole."""
    output, environment = tmp_path / "run", {**os.environ, "OMP_NUM_THREADS": "1"}
    flags = [*fit, "--data.batch_size=4", "--trainer.devices=2", "--trainer.strategy=ddp", "--model.loss.aux_weight=0"]
    command = [sys.executable, "-m", "rtseg", "fit", *flags, f"--output={output}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "BatchNorm sees one process's images" in done.stdout + done.stderr
    scored = [row for row in rows(output / "metrics.csv") if row["val/miou"]]
    assert len(scored) == 2
    assert run("validate", *fit, f"--ckpt_path={output / 'last.ckpt'}", f"--trainer.default_root_dir={tmp_path}") == 0
    again = SegmentationModule.load_from_checkpoint(output / "last.ckpt", weights_only=True)
    data = SegmentationData("camvid", str(next(f for f in fit if "root" in f).partition("=")[2]), crop_size=(32, 48))
    (alone,) = L.Trainer(accelerator="cpu", logger=False).validate(again, data, verbose=False)
    for key in ("val/miou", "val/loss", "val/accuracy"):
        assert alone[key] == pytest.approx(float(scored[-1][key]), abs=1e-6)


@pytest.mark.parametrize(
    ("flag", "says"),
    {
        "--model.optim.lr=0.5": "model.optim.lr=0.5 differs from the checkpoint's",
        "--data.batch_size=4": "batch_size=3",
        "--seed_everything=7": "data.seed=7 differs from the checkpoint's 0",
        "--model.attention=sa+sa": "differs from the checkpoint's gfa+ca",
        "--model.options.cross_size=3": "differs from the checkpoint's {'cross_size': 2}",
    }.items(),
)
def test_a_resumed_training_keeps_its_settings(
    tmp_path: Path, fit: list[str], trained: Path, flag: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed = ["--trainer.max_epochs=3", f"--ckpt_path={trained}", f"--output={tmp_path / 'other'}"]
    check_refused(run("fit", *fit, *resumed, flag), says, capsys)


def test_all_that_differs_is_named_at_once(
    tmp_path: Path, fit: list[str], trained: Path, tiny_camvid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the flags to give; what changes nothing in what is trained may differ."""
    data = shutil.copytree(tiny_camvid, tmp_path / "moved")
    for folder in ("train", "trainannot"):
        (data / folder / "000.png").rename(data / folder / "100.png")
    other = {
        "model.loss.jaccard_weight": "0.5", "model.loss.class_weights": "[1,1,1,1,1,1,1,1,1,1,2]",
        "model.ema_decay": "0.5", "data.crop_size": "[32,32]", "data.scales": "[1.0]", "data.flip": "0.0",
        "data.distort": "false", "data.eval_resize": "null", "data.upsampling": "twice",
        "trainer.accumulate_grad_batches": "2", "trainer.precision": "bf16-mixed", "trainer.gradient_clip_val": "1",
    }  # fmt: skip
    free = ["--data.num_workers=0", f"--data.root={data}", "--model.channels_last=false", "--trainer.max_epochs=3"]
    flags = [*free, *(f"--{key}={value}" for key, value in other.items()), f"--output={tmp_path / 'other'}"]
    assert run("fit", *fit, *flags, f"--ckpt_path={trained}") == 2
    error = capsys.readouterr().err
    told = re.findall(r"^  ([\w.]+)=", error, re.MULTILINE)
    assert set(told) == {*other, "data.images"}
    for says in ("'--data.crop_size=[32, 48]'", "--trainer.precision=32-true", "--model.weights=RUN/last.ckpt"):
        assert says in error


def test_another_spelling_is_the_same_model(tmp_path: Path, fit: list[str], trained: Path) -> None:
    flags = ["--model.attention=gfa:groups=8+ca", "--model.options.injection=[true,false]"]
    assert run("validate", *fit, *flags, f"--ckpt_path={trained}") == 0


def test_a_checkpoint_says_how_it_is_scored(
    fit: list[str],
    trained: Path,
    tiny_camvid: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Network, moving average, data set and size; a command that asks for another is told."""
    flags = ["--trainer.accelerator=cpu", f"--data.root={tiny_camvid}", f"--ckpt_path={trained}"]
    asked = (*fit, "--data.eval_resize=[32,64]"), (), ("--data.eval_resize=null",)
    scores = []
    for more in asked:
        assert run("validate", *more, *flags) == 0
        scores.append(re.findall(r"mIoU.*|\d\.\d{4}", capsys.readouterr().out))
        told = "data.eval_resize=None differs from the checkpoint's [32, 64]" in caplog.text
        assert told == (more == asked[-1])
    assert scores[0] == scores[1] != scores[2]
    check_refused(run("validate", *flags, "--model.ema_decay=0"), "or leave it out, since the checkpoint", capsys)


def test_a_network_without_attention(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    ours = [flag for flag in fit if "cross_size" not in flag and "drop_path" not in flag]
    ours += ["--model.name=ddrnet_23_slim", "--trainer.max_steps=1", "--trainer.num_sanity_val_steps=0"]
    assert run("fit", *ours, "--model.attention=gfa", f"--output={tmp_path / 'run'}") == 2
    assert "'ddrnet_23_slim' has no attention to choose" in capsys.readouterr().err
    assert run("fit", *ours, f"--output={tmp_path / 'run'}") == 0
    assert "  attention: none\n" in (tmp_path / "run" / "config.yaml").read_text()
    checkpoint = f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}"
    for flags in ([], ["--model.attention=none"], [f"--config={tmp_path / 'run' / 'config.yaml'}"]):
        assert run("validate", *flags, *ours, checkpoint) == 0
    assert run("fit", *ours, f"--model.weights={tmp_path / 'run' / 'last.ckpt'}", f"--output={tmp_path / 'on'}") == 0
    assert run("fit", *fit, f"--model.weights={tmp_path / 'run' / 'last.ckpt'}", f"--output={tmp_path / 'no'}") == 2
    assert "is of 'ddrnet_23_slim', this model is 'rtformer_slim': set model.name=ddrnet" in capsys.readouterr().err


def test_the_last_checkpoint_knows_the_best_score(
    tmp_path: Path, fit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the training is killed right after a validation, and so writes nothing at its end."""
    monkeypatch.setattr(StopGracefully, "on_train_end", lambda *_: None)
    assert run("fit", *fit, f"--output={tmp_path / 'run'}") == 0
    best = max(float(row["val/miou"]) for row in rows(tmp_path / "run" / "metrics.csv") if row["val/miou"])
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["callbacks"]
    (state,) = (state for key, state in saved.items() if key.startswith("BestCheckpoint"))
    assert state["best_model_score"].item() == pytest.approx(best, abs=1e-6)


def test_a_users_config_is_not_replaced(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("seed_everything: 3  # mine\n")
    assert run("fit", *fit, f"--config={tmp_path / 'config.yaml'}", f"--output={tmp_path}") == 2
    assert "config.yaml" in capsys.readouterr().err
    assert "mine" in (tmp_path / "config.yaml").read_text()


def test_checkpoint_folder_is_the_runs(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fit", *fit, f"--checkpoint.dirpath={tmp_path}") == 2
    assert "checkpoint.dirpath" in capsys.readouterr().err


def test_output_that_cannot_be_made_is_named(
    tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run("fit", *fit, f"--output={tmp_path / 'file' / 'run'}") == 2
    assert f"'{tmp_path / 'file'}' is a file" in capsys.readouterr().err


def test_drawing_and_timing_end_no_training(
    tmp_path: Path, fit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("too large an image")

    monkeypatch.setattr(fps_monitor, "benchmark", no_memory)
    (tmp_path / "pictures").touch()  # where a folder is wanted
    flags = ["--fps.enabled=true", "--trainer.max_epochs=1", "--data.num_workers=0"]
    assert run("fit", *fit, *flags, f"--output={tmp_path}") == 0
    said = capsys.readouterr().err
    assert said.count("Warning: FPSMonitor failed and is left out where it does (OutOfMemoryError: too large") == 1
    assert said.count("Warning: PredictionPictures failed") == 1
    assert (tmp_path / "best.ckpt").is_file()


def test_without_a_progress_bar(tmp_path: Path, fit: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--trainer.enable_progress_bar=false", "--trainer.max_steps=1", f"--output={tmp_path / 'run'}"]
    assert run("fit", *fit, *flags) == 0
    assert "Trained" not in capsys.readouterr().out
