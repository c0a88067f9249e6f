"""SIGKILL at any moment of a training, and in the writing of a checkpoint: ends with the uninterrupted one's bits.

50 kills, 20 of them in the writing, which the torn file that is left proves.
"""

import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal, NamedTuple

from tools.torture.outcome import Outcome
from tools.torture.trainings import LIMIT, Training, difference, draw_data, finish, last_line, start

Moment = Literal["start", "training", "writing"]

TRAININGS = (
    Training("plain, validated inside epochs", "--trainer.max_epochs=4 --trainer.val_check_interval=2"),
    Training(
        "moving average, accumulated, workers",
        "--trainer.max_epochs=5 --trainer.accumulate_grad_batches=2 --model.ema_decay=0.9 --data.num_workers=2 "
        "--model.options.drop_path=0.2 --model.options.base_channels=16",
    ),
    Training(
        "pre-training, workers, a checkpoint each step",
        "--trainer.max_epochs=3 --save_every=1 --model.ema_decay=0.9 --data.num_workers=2 --data.device_batch_size=4",
        program="pretrain",
    ),
    Training(
        "hard pixels, a validation each step",
        "--trainer.max_steps=12 --trainer.max_epochs=-1 --trainer.val_check_interval=1 --data.num_workers=1 "
        "--trainer.check_val_every_n_epoch=null --model.loss.ohem=true --model.loss.jaccard_weight=0.5 "
        "--trainer.gradient_clip_val=1 --model.options.base_channels=16",
    ),
)


class _Kill(NamedTuple):
    """What was done to a training."""

    case: str
    seconds: float


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """One of each kill."""
    chance = random.Random(0)
    data = draw_data(folder / "data")
    for training, number in zip(TRAININGS, (0, 3, 0, 3) if quick else (12, 13, 13, 12), strict=True):
        if number:
            yield from _tortured(training, number, data, folder, chance)


def _tortured(training: Training, number: int, data: Path, folder: Path, chance: random.Random) -> Iterator[Outcome]:
    """A training is killed, and begun again when it has come to its end, until it was killed so many times."""
    place = folder / re.sub(r"\W+", "_", training.name)
    whole, killed, log = (place.with_name(f"{place.name}_{part}") for part in ("whole", "killed", "log"))
    begun = time.monotonic()
    status, said = finish(training.program, training.command(data, whole), log)
    took = time.monotonic() - begun
    if status != 0:
        yield Outcome(training.name, False, f"exit {status} of the uninterrupted training: {said}", took)
        return
    writing = -(-number * 2 // 5)
    moments: list[Moment] = ["writing"] * writing
    moments += ["start" if k % 3 == 0 else "training" for k in range(number - writing)]
    chance.shuffle(moments)
    for _ in range(2 * number):  # a training may be at its end before its moment comes
        if not moments:
            return
        shutil.rmtree(killed, ignore_errors=True)
        lives = min(len(moments), 5)
        kills, said = _round(training, data, killed, log, moments[:lives], took, chance)
        said = said or difference(whole, killed)
        if said and not kills:
            yield Outcome(training.name, False, said, took)
            return
        del moments[: len(kills)]
        for kill in kills:
            yield Outcome(kill.case, not said, said or "the bits and rows of the uninterrupted training", kill.seconds)
    yield Outcome(training.name, False, f"{len(moments)} moments never came", took)


def _round(
    training: Training, data: Path, output: Path, log: Path, moments: Sequence[Moment], took: float,
    chance: random.Random,
) -> tuple[list[_Kill], str]:  # fmt: skip
    """One training, killed at these moments as long as it lives that long, then left alone. The second is what went
    wrong, "" where nothing did.
    """
    kills: list[_Kill] = []
    for moment in moments:
        for _ in range(20):  # a file may be whole by the time its writer dies: once more then
            begun = time.monotonic()
            process = start(training.program, training.command(data, output), log)
            died = _kill(process, output, moment, took, chance)
            if not died:
                if process.exitcode == 0:
                    return kills, ""
                return kills, f"exit {process.exitcode}: {last_line(log)}"
            torn = sorted(path.name for path in output.glob(".*-unfinished"))
            if moment != "writing" or torn:
                break
        inside = f"inside {', '.join(torn)}" if torn else f"at a moment of its {moment}"
        kills.append(_Kill(f"{training.name}: {inside}", time.monotonic() - begun))
    status, said = finish(training.program, training.command(data, output), log)
    return kills, "" if status == 0 else f"exit {status}: {said}"


def _kill(process: ForkServerProcess, output: Path, moment: Moment, took: float, chance: random.Random) -> bool:
    """Whether it was killed before its end."""
    begun = time.monotonic()
    written = _written(output)
    at = begun + chance.uniform(0.1, 0.6) * took if moment == "start" else begun + LIMIT
    nth, seen = chance.randint(1, 4), False
    while process.exitcode is None and time.monotonic() < at:
        if moment == "training" and at > begun + took * 2 and _written(output) != written:  # its first rows are there
            at = time.monotonic() + chance.uniform(0, 0.3) * took
        if moment == "writing":
            before, seen = seen, any((output / f".{name}.ckpt-unfinished").exists() for name in ("last", "best"))
            nth -= seen and not before
            if not nth:
                break
        time.sleep(0.0002 if moment == "writing" else 0.005)
    alive = process.exitcode is None
    process.kill()
    process.join()
    return alive


def _written(output: Path) -> int:
    """When the log was written to, 0 before it is."""
    log = output / "metrics.csv"
    return log.stat().st_mtime_ns if log.exists() else 0
