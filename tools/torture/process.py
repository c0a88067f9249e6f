"""`rtseg` as a person starts it: a process of its own, its exit status, its last line, its memory."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tools.torture.worker import MOST_CLOCK, Answer, last_line

ROOT = Path(__file__).parents[2]


@cache
def start_up() -> float:
    """Seconds that a command takes here before it does anything; what is over it is the case's own."""
    begin = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", "import rtseg.training.cli, rtseg.deploy.predictor, rtseg.studies.commands"],
        env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    return time.perf_counter() - begin


def environment() -> dict[str, str]:
    """This process's own, in which `rtseg` is this checkout's."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def run_rtseg(
    arguments: Sequence[str], *, clock: float = MOST_CLOCK, before: Sequence[str] = (), folder: Path | None = None
) -> Answer:
    """How the command ended. Memory and processor time are those beyond a start without a case.

    Args:
        clock: seconds by the clock, beyond the start-up, after which the command is stopped.
        before: a program that runs it, as `strace`.
        folder: to start it in.
    """
    limit = start_up() + clock
    with tempfile.TemporaryFile() as output:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [*before, sys.executable, "-m", "rtseg", *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment(), cwd=folder,
            start_new_session=True,
        )  # fmt: skip
        hung = threading.Event()

        def stop() -> None:
            hung.set()
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, stop)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        output.seek(0)
        printed = output.read().decode(errors="backslashreplace")
    code = process.returncode
    own, busy = _of_a_start(), usage.ru_utime + usage.ru_stime
    kind = "hung" if hung.is_set() else "died" if code < 0 else "exited"
    said = {"hung": f"stopped after {limit:.0f} s", "died": str(code)}.get(kind, last_line(printed))
    return Answer(
        kind, said, printed[-20_000:], seconds, max(0.0, busy - own[0]), usage.ru_maxrss / 1024 - own[1], code
    )  # fmt: skip


@cache
def _of_a_start() -> tuple[float, float]:
    """Processor seconds and megabytes of what `start_up` measures."""
    start_up()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
