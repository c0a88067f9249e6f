"""What the groups damage: drawn data, a tiny training, and its weights in every format."""

import io
import pickle
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from rtseg.cli import main

OPTIONS = {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2}
SIZE = (32, 48)  # of exported graphs


def quietly(function: Callable[[list[str]], object], *arguments: str) -> None:
    """A command that must succeed, in this process."""
    argv, printed = list(sys.argv), io.StringIO()  # `rtseg fit` sets the first
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            function(list(arguments))
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"rtseg {' '.join(arguments)}: {printed.getvalue()[-300:]}") from None
    finally:
        sys.argv = argv


def make_data(folder: Path, images: int = 6) -> Path:
    """Street scenes in CamVid's layout."""
    quietly(
        main, "make-data", "--layout", "camvid", "-n", str(images), "--number-val", "2", "--size", "64", "64",
        "-o", str(folder),
    )  # fmt: skip
    return folder


def fit_flags(data: Path, output: Path) -> list[str]:
    """A training of two epochs of three steps, without augmentation's workers."""
    options = [f"--model.options.{key}={value}" for key, value in OPTIONS.items()]
    return [
        "fit", *options, "--model.ema_decay=0.9", "--model.optim.warmup_steps=2", "--data.dataset=camvid",
        f"--data.root={data}", "--data.batch_size=2", "--data.crop_size=[32,48]", "--data.num_workers=0",
        "--trainer.accelerator=cpu", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1",
        "--trainer.enable_progress_bar=false", "--fps.enabled=false", f"--output={output}",
    ]  # fmt: skip


def train(folder: Path) -> Path:
    """The run folder of a tiny training; its data stand beside it, in `data`."""
    make_data(folder / "data")
    quietly(main, *fit_flags(folder / "data", folder / "run"))
    return folder / "run"


def save_folder(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint's weights as safetensors with their card."""
    from rtseg.models.segmenter import Segmenter

    Segmenter.from_pretrained(checkpoint).save_pretrained(folder)
    return folder


def export(checkpoint: Path, file: Path) -> Path:
    """The checkpoint's network as ONNX."""
    quietly(main, "export", str(checkpoint), "-o", str(file), "--input-size", *map(str, SIZE))
    return file


def time_network(run: Path) -> Path:
    """The `benchmark.json` of a run, of one engine."""
    file = run / "benchmark.json"
    size = map(str, SIZE)
    quietly(
        main, "benchmark", str(run / "best.ckpt"), "--backend", "eager", "--input-size", *size, "--seconds", "0.05",
        "-o", str(file),
    )  # fmt: skip
    return file


def write_pdparams(file: Path) -> Path:
    """A file as Paddle writes them, of arrays so small that most of it is structure."""
    draw = np.random.default_rng(0)
    arrays = {f"layer1.{k}.conv1.weight": draw.standard_normal((2, 1, 3, 3)).astype(np.float32) for k in range(40)}
    names = {name: f"conv2d_{k}.w_0" for k, name in enumerate(arrays)}
    file.write_bytes(pickle.dumps({**arrays, "StructuredToParameterName@@": names}, protocol=4))
    return file
