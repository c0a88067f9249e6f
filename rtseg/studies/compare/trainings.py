"""Trainings of a comparison: every row with the same recipe, seeds and number of epochs, each by `rtseg fit` in a
process of its own, gone on with where an earlier run of the command stopped.

A comparison's folder holds `recipe.json` and one run folder of `rtseg fit` for each row and seed, with `train.log`,
what that command printed, and, once it has ended well, `finished.json`.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rtseg.errors import UserError
from rtseg.output import make_folder
from rtseg.studies.compare.rows import Row
from rtseg.studies.report.metrics_log import read_log

_FLAGS = ("--model.", "--data.", "--trainer.", "--fps.")
_OWN_FLAGS = (
    *("--model.attention", "--model.name", "--data.root", "--trainer.max_epochs", "--trainer.max_steps"),
    *("--trainer.val_check_interval", "--trainer.check_val_every_n_epoch", "--trainer.logger"),
)


@dataclass(frozen=True)
class Recipe:
    """What all trainings of a comparison share.

    Attributes:
        config: a configuration of `rtseg fit`.
        data: folder of its data set.
        flags: further flags of `rtseg fit`, such as "--trainer.precision=bf16-mixed".
    """

    model: str
    config: Path
    data: Path
    epochs: int
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"--epochs {self.epochs} must be at least 1")
        if not self.config.is_file():
            raise UserError(f"--config {self.config}: no such file; give a configuration of `rtseg fit`")
        if not self.data.exists():
            raise UserError(f"--data {self.data}: no such folder; give the data set's")
        for flag in self.flags:
            name = flag.partition("=")[0]
            if not flag.startswith(_FLAGS) or "=" not in flag:
                raise UserError(
                    f"'{flag}' is no option of this command; flags of `rtseg fit` are handed on as "
                    f"--data.key=value, and likewise {', '.join(f'{prefix}*' for prefix in _FLAGS)}"
                )
            if name in _OWN_FLAGS:
                raise UserError(f"'{name}' is set by the comparison itself; leave it out")

    def to_dict(self) -> dict[str, Any]:
        """JSON types; the configuration with its text, since that is what decides."""
        return {
            "model": self.model,
            "config": self.config.read_text(),
            "data": str(self.data),
            "epochs": self.epochs,
            "flags": list(self.flags),
        }

    def command(self, row: Row, seed: int, folder: Path) -> list[str]:
        """`rtseg fit` for one row and seed, with results in `folder`."""
        last = folder / "last.ckpt"
        return [
            "fit",
            f"--config={self.config}",
            f"--output={folder}",
            f"--model.name={self.model}",
            f"--model.attention={row.attention}",
            *(f"--model.options.{key}={value}" for key, value in row.options.items()),
            f"--data.root={self.data}",
            f"--seed_everything={seed}",
            *("--trainer.max_steps=-1", f"--trainer.max_epochs={self.epochs}"),
            # The last epoch must be scored, whatever the configuration says.
            *("--trainer.val_check_interval=1.0", f"--trainer.check_val_every_n_epoch={_interval(self.epochs)}"),
            *self.flags,
            *([f"--ckpt_path={last}"] if last.is_file() else []),
        ]


def _interval(epochs: int) -> int:
    """Epochs between validations, with their checkpoints: four or five of them, the last at the very end."""
    return next(every for every in range(max(1, epochs // 5), epochs + 1) if epochs % every == 0)


@dataclass(frozen=True)
class Training:
    """One row, one seed."""

    row: Row
    seed: int
    folder: Path

    @property
    def finished(self) -> bool:
        return (self.folder / "finished.json").is_file()

    def epoch(self) -> float:
        """How many epochs it has logged."""
        log = self.folder / "metrics.csv"
        try:
            return max(row["epoch"] for row in read_log(log).rows if "epoch" in row) if log.is_file() else 0
        except (UserError, ValueError):  # nothing is logged yet
            return 0

    def score(self) -> dict[str, float]:
        """`miou` and `accuracy` of the last epoch, and `images_per_s`. Not of the best epoch: choosing it by the very
        images that are scored would flatter."""
        log = read_log(self.folder / "metrics.csv")
        speeds = [value for _, value in log.points("speed/train_images_per_s")]
        return {
            "miou": log.points("val/miou")[-1][1],
            "accuracy": log.points("val/accuracy")[-1][1],
            "images_per_s": sorted(speeds)[len(speeds) // 2] if speeds else float("nan"),
        }


def trainings(rows: Sequence[Row], seeds: Sequence[int], folder: Path) -> list[Training]:
    """Seed by seed, so that a comparison that is cut short has every row."""
    return [Training(row, seed, folder / f"{row.slug}_seed{seed}") for seed in seeds for row in rows]


def train(wanted: Sequence[Training], recipe: Recipe, folder: Path, *, jobs: int, console: Console) -> None:
    """Makes the trainings that are not finished.

    Ctrl-C ends the ones that run after their step, with a checkpoint, and the same command goes on from there.

    Args:
        folder: of the comparison; holds those of the trainings.
        jobs: trainings at a time; on a CPU they share its cores.

    Raises:
        UserError: the folder holds trainings of another recipe, or another process works in it; or a training failed.
    """
    make_folder(folder)
    with _locked(folder) as lock, _sigterm_like_ctrl_c():
        _check_recipe(recipe, folder / "recipe.json")
        waiting = [training for training in wanted if not training.finished]
        running: dict[Training, subprocess.Popen] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        try:
            with Progress(*columns, console=console) as progress:
                total = progress.add_task("trainings", total=len(wanted), completed=len(wanted) - len(waiting))
                bars = {}
                while waiting or running:
                    while waiting and len(running) < jobs:
                        training = waiting.pop(0)
                        running[training] = _start(training, recipe, lock, jobs)
                        name = f"{training.row.name}, seed {training.seed}"
                        bars[training] = progress.add_task(name, total=recipe.epochs)
                    time.sleep(0.5)
                    for training, process in list(running.items()):
                        progress.update(bars[training], completed=training.epoch())
                        if process.poll() is not None:
                            del running[training]
                            _finish(training, process)
                            progress.remove_task(bars.pop(training))
                            progress.advance(total)
                            score = f"mIoU {training.score()['miou']:.4f}"
                            progress.console.print(f"{training.row.name}, seed {training.seed}: {score}")
        finally:
            for process in running.values():
                process.terminate()  # not SIGINT: under nohup it is ignored until the training itself has begun
            for process in running.values():
                process.wait()


def _start(training: Training, recipe: Recipe, lock: int, jobs: int) -> subprocess.Popen:
    if training.folder.is_dir() and not (training.folder / "last.ckpt").is_file():
        shutil.rmtree(training.folder)  # cut before its first checkpoint: nothing in it to go on from
    command = recipe.command(training.row, training.seed, training.folder)
    make_folder(training.folder)
    environment = dict(os.environ)
    if jobs > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
    with (training.folder / "train.log").open("ab") as log:
        log.write(f"$ rtseg {' '.join(command)}\n".encode())
        log.flush()
        # A session of its own: Ctrl-C in the terminal would reach it twice, and the second one stops at once. The lock
        # is handed on, so that a training whose parent was killed still keeps others out of the folder.
        return subprocess.Popen(
            [sys.executable, "-m", "rtseg", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            pass_fds=[lock],
        )


def _finish(training: Training, process: subprocess.Popen) -> None:
    log = training.folder / "train.log"
    if process.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        reason = next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
        end = f"ended with status {process.returncode}"
        if process.returncode < 0:
            end = f"was killed by {signal.Signals(-process.returncode).name}"
            if process.returncode == -signal.SIGKILL:
                end += ", which is usually for want of memory (fewer --jobs, a smaller --data.batch_size)"
        raise UserError(
            f"the training of {training.row.name}, seed {training.seed}, {end}: {reason.removeprefix('error: ')} "
            f"(all of it: {log}). The same command goes on with what is finished"
        )
    (training.folder / "finished.json").write_text(json.dumps(training.score()) + "\n")


def _check_recipe(recipe: Recipe, file: Path) -> None:
    ours = {**recipe.to_dict(), "data": str(recipe.data.resolve())}
    if file.is_file():
        theirs = json.loads(file.read_text())
        different = [key for key in ours if ours[key] != theirs.get(key)]
        if different:
            what = ", ".join(
                "the text of the config" if key == "config" else f"{key} {theirs.get(key)}, not {ours[key]}"
                for key in different
            )
            raise UserError(
                f"'{file.parent}' holds trainings of another recipe ({what}): rows must share it to be compared. "
                "Give the same one, or another folder by -o"
            )
    file.write_text(json.dumps(ours, indent=2) + "\n")


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    """Two commands in one folder would train into each other's files."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"another `rtseg compare`, or a training that it started, works in '{folder}': wait for it or stop it"
            ) from None
        yield file.fileno()


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
