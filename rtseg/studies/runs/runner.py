"""Makes the trainings of a study, each by `rtseg fit` in a process of its own, resumed where an earlier run stopped.

A study's folder holds `recipe.json` and one run folder of `rtseg fit` for each network and seed. In that are
`train.log`, what the command printed, and, once it has ended well, `finished.json`.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rtseg.command_line import resumable
from rtseg.errors import STOPPED, UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.studies.runs.metrics_log import read_log
from rtseg.studies.runs.recipe import Recipe
from rtseg.studies.runs.training import Training
from rtseg.terminal import Console
from rtseg.yaml_file import parse_yaml


def check_start(wanted: Sequence[Training], recipe: Recipe) -> None:
    """Reads the scores of finished trainings, asks the training's command what it makes of the recipe, and looks for
    the data, before the minutes of timing.

    Raises:
        UserError: damaged scores, a key or value that the command does not take, or no such data.
    """
    for training in wanted:
        if training.finished:
            training.score(recipe.task.scores)
    first = next((training for training in wanted if not training.finished), None)
    if first is None:
        return
    command = [*recipe.command(first), "--print_config"]
    answer = subprocess.run(
        [sys.executable, "-m", "rtseg", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise UserError(f"`{recipe.task.fit}` refuses the recipe: {_reason(answer.stderr)}")
    recipe.task.check_data(parse_yaml(answer.stdout, "--print_config")["data"])


def _reason(printed: str) -> str:
    """The error that `rtseg` ended with, or its last word."""
    lines = [line for line in printed.splitlines() if line.strip()] or ["it said nothing"]
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1]).removeprefix("error: ")


def explain(failed: Mapping[Training, str]) -> list[str]:
    """One line for each reason that trainings failed for, however many share it."""
    reasons: dict[str, list[Training]] = {}
    for training, reason in failed.items():
        reasons.setdefault(reason, []).append(training)
    lines = []
    for reason, own in reasons.items():
        names = "; ".join(training.name for training in own)
        many = f"{len(own)} trainings ({names}) each" if len(own) > 1 else f"the training of {names},"
        lines.append(f"{many} {reason} (all of it: {own[0].folder / 'train.log'})")
    return lines


def train(wanted: Sequence[Training], recipe: Recipe, *, lock: int, jobs: int, console: Console) -> dict[Training, str]:
    """Makes the trainings that are not finished.

    Ctrl-C ends the ones that run after their step, with a checkpoint, and the same command goes on from there.

    Args:
        lock: of `locked_folder`.
        jobs: trainings at a time; on a CPU they share its cores.

    Returns:
        The trainings that failed, with the reason; they stop no other.
    """
    failed: dict[Training, str] = {}
    settings = recipe.to_dict()
    waiting = [training for training in wanted if not training.finished]
    running: dict[Training, subprocess.Popen] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        resumable("The same command resumes it."),
        _ended(running, console),
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        total = progress.add_task("trainings", total=len(wanted), completed=len(wanted) - len(waiting))
        bars = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                training = waiting.pop(0)
                if recipe.to_dict() != settings:
                    raise UserError(f"'{recipe.config}' was changed while trainings were made by it: put it back")
                running[training] = _start(training, recipe, lock, jobs)
                console.print(f"{training.name}: {training.folder / 'train.log'}", soft_wrap=True)
                bars[training] = progress.add_task(training.name, total=recipe.epochs)
            time.sleep(1)
            for training, process in list(running.items()):
                progress.update(bars[training], completed=training.epoch())
                if process.poll() is None:
                    continue
                del running[training]
                try:
                    _finish(training, process, recipe)
                    scores = training.score(recipe.task.shown)
                    result = ", ".join(f"{of} {scores[name]:.4f}" for name, of in recipe.task.shown.items())
                except UserError as error:
                    failed[training] = str(error)
                    result = "failed"
                progress.remove_task(bars.pop(training))
                progress.advance(total)
                progress.console.print(f"{training.name}: {result}")
    return failed


@contextmanager
def _ended(running: Mapping[Training, subprocess.Popen], console: Console) -> Iterator[None]:
    """Whatever happens inside, what is `running` then ends after its training step, and is waited for."""
    try:
        yield
    finally:
        if running:
            console.print("ending the trainings after the step that they are in")
        for process in running.values():
            process.terminate()  # not SIGINT: under nohup it is ignored until the training itself has begun
        for process in running.values():
            process.wait()


def _start(training: Training, recipe: Recipe, lock: int, jobs: int) -> subprocess.Popen:
    if training.folder.is_dir() and not (training.folder / "last.ckpt").is_file():
        shutil.rmtree(training.folder)  # cut before its first checkpoint: nothing in it to go on from
    command = recipe.command(training)
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


def _finish(training: Training, process: subprocess.Popen, recipe: Recipe) -> None:
    log = training.folder / "train.log"
    if process.returncode != 0:
        _, _, last = f"\n{log.read_text(errors='replace')}".rpartition("\n$ rtseg ")  # of the last attempt
        end = f"ended with status {process.returncode}"
        if process.returncode == STOPPED:
            raise UserError("was stopped by a signal; its checkpoint is kept")
        if process.returncode < 0:
            end = f"was killed by {signal.Signals(-process.returncode).name}"
            if process.returncode == -signal.SIGKILL:
                end += ", which is usually for want of memory (fewer --jobs, a smaller --data.batch_size)"
        raise UserError(f"{end}: {_reason(last)}")
    metrics = training.folder / "metrics.csv"
    columns = recipe.task.scores
    rows = read_log(metrics).rows if metrics.is_file() else ()
    scored = [row for row in rows if row.keys() >= set(columns.values())]
    if not scored or scored[-1].get("epoch") != recipe.epochs - 1:
        raise UserError(
            "ended without a score of its last epoch: max_time, limit_val_batches, logger or a callback that stops "
            "early must not be set in its configuration"
        )
    scores = {name: scored[-1][column] for name, column in columns.items()}
    if unknown := [columns[name] for name, score in scores.items() if not math.isfinite(score)]:
        raise UserError(f"ended with a score that is not finite: {', '.join(unknown)}")
    write_whole(training.folder / "finished.json", json.dumps(scores) + "\n")
