"""Tiny trainings that can be killed, resumed and compared: what the groups of the training side share.

They are forked off one process that has imported everything, since an import costs more than such a training.
"""

import csv
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from rtseg.scenes import make_data

ROOT = Path(__file__).parents[2]
LIMIT = 180.0  # seconds that a training of seconds may take on a busy machine
STOPPED = 75  # exit status, as documented

_COMMON = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
_TINY = [
    "--model.options.base_channels=8", "--model.options.spp_channels=8", "--model.options.head_channels=8",
    "--model.options.cross_size=2",
]  # fmt: skip


@dataclass(frozen=True)
class Training:
    """A command that trains.

    Attributes:
        name: of the case.
        flags: beside those that all have, with blanks between.
        program: rtseg, or pretrain.
    """

    name: str
    flags: str = ""
    program: str = "rtseg"

    def command(self, data: Path, output: Path) -> list[str]:
        """`fit` with all flags, from last.ckpt where there is one, as the documentation has it. best.ckpt is alone
        where the first last.ckpt was never written whole.
        """
        own = [*_TINY, "--fps.enabled=false", "--data.dataset=camvid", f"--data.root={data / 'camvid'}"]
        own += ["--data.batch_size=4", "--data.crop_size=[64,64]", "--model.optim.warmup_steps=2"]
        if self.program == "pretrain":
            own = [_TINY[0], f"--data.root={data / 'imagenet'}", "--data.batch_size=8", "--data.augment.image_size=32"]
            own += ["--model.optim.warmup_epochs=1"]
        found = [file for file in (output / "last.ckpt", output / "best.ckpt") if file.is_file()]
        more = [f"--ckpt_path={file}" for file in found[:1]]
        return ["fit", *_COMMON, *own, *self.flags.split(), f"--output={output}", *more]


def draw_data(folder: Path) -> Path:
    """Street scenes in CamVid's layout and things in ImageNet's, of 64x64 pixels; once in a folder."""
    for layout, number, val in (("camvid", 18, 5), ("imagenet", 40, 10)):
        if not (folder / layout).exists():
            make_data(layout, number, folder / layout, n_val=val, size=(64, 64))
    return folder


def server() -> ForkServerContext:
    """The process that trainings are forked off; the first call decides on its environment."""
    os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rtseg.training.cli", "pretrain.cli", "rtseg.cli", "pretrain.commands", __name__])
    return context


def start(program: str, command: Sequence[str], log: Path) -> ForkServerProcess:
    """Runs `rtseg` or `python -m pretrain` with these arguments in a process of its own; `log` gets what it says."""
    process = server().Process(target=_run, args=(program, list(command), str(log)))
    process.start()
    return process


def _run(program: str, command: list[str], log: str) -> None:
    from pretrain import commands as pretraining
    from rtseg import cli

    sys.stdout.flush()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(said, stream)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup's children ignore it
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # of loaders: as in a process that was not forked off a server
    (cli if program == "rtseg" else pretraining).main(command)


def finish(program: str, command: Sequence[str], log: Path) -> tuple[int | None, str]:
    """Exit status, and the last line that the command said; no status where it hangs."""
    process = start(program, command, log)
    process.join(LIMIT)
    if process.exitcode is None:
        process.kill()
        process.join()
        return None, f"hung for {LIMIT:.0f} s: {last_line(log)}"
    return process.exitcode, last_line(log)


def last_line(log: Path) -> str:
    """The error, a traceback's too; what was said last where there is none."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    errors = [line for line in lines if re.match(r"error:|[\w.]+(Error|Exception|Interrupt)\b", line)]
    return errors[-1] if errors else lines[-1] if lines else "nothing said"


def difference(whole: Path, other: Path) -> str:
    """In what a training's folder differs from an uninterrupted training's, "" where in nothing.

    Weights, moving average and optimizer of both checkpoints must have the same bits, and `metrics.csv` the same
    numbers; speed is no number of the training.
    """
    for name in ("last.ckpt", "best.ckpt"):
        if not (other / name).is_file():
            return f"there is no {name}"
        first, second = (torch.load(folder / name, weights_only=True) for folder in (whole, other))
        for part in ("global_step", "state_dict", "ema_state_dict", "optimizer_states", "lr_schedulers"):
            found = _unequal(first.get(part), second.get(part), part)
            if found:
                return f"{name}: {found}"
    ours, theirs = _numbers(whole / "metrics.csv"), _numbers(other / "metrics.csv")
    if ours != theirs:
        lost, new = ([x for x in a if x not in b] for a, b in ((ours, theirs), (theirs, ours)))
        return f"metrics.csv: missing {lost[:3]}, new {new[:3]}, {len(theirs)} numbers for {len(ours)}"
    left = sorted(path.name for path in other.iterdir() if "unfinished" in path.name)
    return f"left behind: {', '.join(left)}" if left else ""


def _unequal(first: Any, second: Any, where: str) -> str:
    """The place of the first difference."""
    if isinstance(first, torch.Tensor):
        same = isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
        return "" if same else where
    if isinstance(first, dict) and isinstance(second, dict):
        if first.keys() != second.keys():
            return f"{where}: other keys"
        pairs = [(str(key), first[key], second[key]) for key in first]
    elif isinstance(first, list | tuple) and isinstance(second, list | tuple):
        if len(first) != len(second):
            return f"{where}: another length"
        pairs = [(str(k), *pair) for k, pair in enumerate(zip(first, second, strict=True))]
    else:
        return "" if first == second else where
    return next((found for key, a, b in pairs if (found := _unequal(a, b, f"{where}.{key}"))), "")


def _numbers(file: Path) -> list[tuple[int, str, str]]:
    """(step, column, number), sorted."""
    with file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    return sorted(
        (int(row["step"]), key, value)
        for row in rows
        for key, value in row.items()
        if value and key != "step" and not key.startswith("speed/")
    )
