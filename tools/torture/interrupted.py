"""Trainings that are interrupted and resumed by the documented command, until they are at their end."""

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Literal, NamedTuple

from tools.torture.outcome import Outcome
from tools.torture.trainings import LIMIT, STOPPED, Training, difference, finish, last_line, start

Moment = Literal["start", "training", "writing"]
PATIENCE = 60.0  # seconds for a training of tiny steps to come to the end of one


class Interruption(NamedTuple):
    """When a training gets which signal: before its first step, in a step or a validation, or while a checkpoint is
    being written.
    """

    signal: signal.Signals
    moment: Moment


class _Done(NamedTuple):
    case: str
    seconds: float


def interrupted(
    training: Training, interruptions: Sequence[Interruption], data: Path, folder: Path, chance: random.Random
) -> Iterator[Outcome]:
    """One outcome of each interruption: whether its training ended as the uninterrupted one did.

    A training is interrupted up to five times; one that is at its end is begun again in a new folder.

    Args:
        data: see `draw_data`.
        folder: for its folders.
        chance: draws the moments.
    """
    place = folder / re.sub(r"\W+", "_", training.name)
    whole, other, log = (place.with_name(f"{place.name}_{part}") for part in ("whole", "interrupted", "log"))
    begun = time.monotonic()
    status, said = finish(training.program, training.command(data, whole), log)
    took = time.monotonic() - begun
    if status != 0:
        yield Outcome(training.name, False, f"exit {status} of the uninterrupted training: {said}", took)
        return
    left = list(interruptions)
    chance.shuffle(left)
    for _ in range(6 * len(left)):  # a training may be at its end before its moment comes
        if not left:
            return
        shutil.rmtree(other, ignore_errors=True)
        lives = _Lives(training, data, whole, other, log, took, chance)
        done, said = lives.interrupt(left[:5])
        said = said or difference(whole, other)
        if said and not done:
            yield Outcome(training.name, False, said, took)
            return
        left = [*left[max(1, len(done)) :], *left[:1][len(done) :]]  # another one first where the first did not come
        for case, seconds in done:
            yield Outcome(
                f"{training.name}: {case}", not said, said or "the uninterrupted one's bits and rows", seconds
            )
    if left:
        yield Outcome(training.name, False, f"{len(left)} moments never came", took)


class _Lives(NamedTuple):
    """An uninterrupted training, to compare interrupted ones with.

    Attributes:
        whole, took: folder of the uninterrupted training, and its seconds.
    """

    training: Training
    data: Path
    whole: Path
    output: Path
    log: Path
    took: float
    chance: random.Random

    def interrupt(self, interruptions: Sequence[Interruption]) -> tuple[list[_Done], str]:
        """As long as the training lives, then it is left alone. The second is what went wrong, "" where nothing did."""
        done: list[_Done] = []
        for interruption in interruptions:
            for _ in range(20):  # a file may be whole by the time its writer dies: once more then
                begun, since = time.monotonic(), time.time_ns()
                process = start(self.training.program, self.training.command(self.data, self.output), self.log)
                if not self._wait(process, interruption):
                    status = process.exitcode
                    return done, "" if status == 0 else f"exit {status}: {last_line(self.log)}"
                status, seconds = self._send(process, interruption.signal)
                if status == 0:  # it came into the last step
                    return done, ""
                wanted = -signal.SIGKILL if interruption.signal == signal.SIGKILL else STOPPED
                torn = self._being_written(since)
                if status != wanted:
                    case = _Done(f"{interruption.signal.name} in its {interruption.moment}", seconds)
                    return [*done, case], f"exit {status}, not {wanted}: {last_line(self.log)}"
                if torn or interruption.signal != signal.SIGKILL or interruption.moment != "writing":
                    break
            inside = f"inside {torn[0]}" if torn else f"in its {interruption.moment}"
            done.append(_Done(f"{interruption.signal.name} {inside}", time.monotonic() - begun))
        status, said = finish(self.training.program, self.training.command(self.data, self.output), self.log)
        return done, "" if status == 0 else f"exit {status}: {said}"

    def _wait(self, process: ForkServerProcess, interruption: Interruption) -> bool:
        """For the moment. Whether it came before the training's end."""
        moment, begun, since = interruption.moment, time.monotonic(), time.time_ns()
        at = begun + 0.5 + self.chance.uniform(0, 0.5) * self.took if moment == "start" else begun + LIMIT
        rows, fast = self._rows(self.output), 0.0002 if moment == "writing" else 0.002
        left = 2 if moment == "writing" else max(2, (self._rows(self.whole) - rows) // 2)
        nth, there, last, gap = self.chance.randint(1, left), False, begun, 0.0
        while process.exitcode is None and time.monotonic() < at:
            if moment == "writing":
                before, there = there, bool(self._being_written(since))
                nth -= there and not before
                if not nth:
                    break
            elif moment == "training" and nth and (now := self._rows(self.output)) > rows:
                rows, nth, last, gap = now, nth - 1, time.monotonic(), time.monotonic() - last
                if not nth:  # anywhere in the step or the validation that follows
                    at = last + self.chance.uniform(0, min(gap, 1.0))
            time.sleep(fast)
        return process.exitcode is None

    def _being_written(self, since: int) -> list[str]:
        """Checkpoints that are not whole, but for those of earlier lives. `since` is in nanoseconds."""
        found = []
        for name in ("last", "best"):
            with suppress(FileNotFoundError):
                file = self.output / f".{name}.ckpt-unfinished"
                if file.stat().st_mtime_ns >= since:
                    found.append(file.name)
        return found

    def _rows(self, folder: Path) -> int:
        """How many are in the log."""
        file = folder / "metrics.csv"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def _send(self, process: ForkServerProcess, number: signal.Signals) -> tuple[int | None, float]:
        """Exit status, and after how many seconds; no status where it does not end."""
        assert process.pid is not None
        sent = time.monotonic()
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
        process.join(PATIENCE)
        status = process.exitcode
        process.kill()
        process.join()
        return status, time.monotonic() - sent
