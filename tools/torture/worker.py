"""A process that is given cases one by one, and replaced where it dies or hangs: starting one takes seconds."""

import io
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from rtseg.errors import UserError
from tools.torture.outcome import Outcome

MOST_SECONDS = 10.0  # of processor time: the clock also counts what else the machine does
MOST_CLOCK = 30.0  # what waits without computing takes no processor time
MOST_MEGABYTES = 1024.0  # beyond what the process had before the case
MOST_CHARACTERS = 5000  # of a message: a sentence, with the names in it
_CEILING = 6 * 1024.0  # the case is stopped here, before the machine suffers


@dataclass(frozen=True)
class Answer:
    """How a case ended.

    Attributes:
        kind: returned, refused (a UserError), exited (a command; see `status`), raised (a traceback), hung, died.
        said: the error, the returned value, or how it was stopped.
        printed: everything on the standard output and error.
        seconds, busy: by the clock, and of processor time.
        megabytes: most memory, beyond what the process had before.
        status: exit status of a command.
        most_busy: processor time that it may take.
    """

    kind: str
    said: str
    printed: str = ""
    seconds: float = 0.0
    busy: float = 0.0
    megabytes: float = 0.0
    status: int | None = None
    most_busy: float = MOST_SECONDS

    @property
    def fault(self) -> str | None:
        """Why no case may end like this, or None: no traceback, no hang, no death, little memory, a short message."""
        if self.kind in ("raised", "hung", "died"):
            return f"{self.kind}: {self.said}"
        if "Traceback (most recent call last)" in self.printed:
            return f"prints a traceback: {last_line(self.printed)}"
        if self.busy > self.most_busy:
            return f"took {self.busy:.0f} s of processor time: {self.said}"
        if self.megabytes > MOST_MEGABYTES:
            return f"took {self.megabytes:.0f} MB: {self.said}"
        if self.kind == "exited" and self.status not in (0, 1, 2):
            return f"exit status {self.status}: {self.said}"
        if "\x1b" in self.printed or (self.kind == "refused" and "\x1b" in self.said):
            return f"sends an escape code to the terminal: {self.said}"
        if len(self.said) > MOST_CHARACTERS and self.kind != "returned" and self.status != 0:
            return f"a message of {len(self.said)} characters: {self.said}"
        return None

    def outcome(self, case: str, fault: str | None = None) -> Outcome:
        """The case's outcome; bad where the answer or the caller has a fault."""
        wrong = self.fault or fault
        word = "" if self.kind == "returned" else f"{self.kind}{'' if self.status is None else f' {self.status}'}: "
        return Outcome(case, wrong is None, wrong or f"{word}{self.said}", self.seconds)


class Worker:
    """Runs functions in a process of its own. Use it in a `with` block."""

    def __init__(self, setup: Callable[[], Any] | None = None) -> None:
        """Args:
        setup: runs first in each process, as imports and first calls that are no case's own.
        """
        self._setup = setup
        self._process: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def run(
        self, function: Callable[..., Any], *arguments: Any, clock: float = MOST_CLOCK, busy: float = MOST_SECONDS
    ) -> Answer:
        """How `function(*arguments)` ended; both travel by pickle.

        Args:
            clock: seconds after which the process is stopped.
            busy: processor time that is not too much.
        """
        if self._process is None:
            self._start()
        begin = time.perf_counter()
        before = _memory(self._process.pid, "VmRSS")
        self._connection.send((function, arguments))
        stopped = self._wait(clock, before)
        seconds = time.perf_counter() - begin
        if not stopped:
            try:
                answer = self._connection.recv()
                return replace(answer, seconds=seconds, most_busy=busy)
            except (EOFError, ConnectionError):
                self._process.join()
                code = self._process.exitcode
                stopped = signal.Signals(-code).name if code < 0 else f"exit status {code}"
                self._process = None
                return Answer("died", stopped, seconds=seconds)
        self._stop()
        return Answer("hung", stopped, seconds=seconds)

    def _wait(self, clock: float, before: float) -> str:
        """Empty once there is an answer, or the process is dead; else why the case must be stopped."""
        end = time.perf_counter() + clock
        while not self._connection.poll(0.05):
            if time.perf_counter() > end:
                return f"stopped after {clock:.0f} s"
            if (more := _memory(self._process.pid, "VmRSS") - before) > _CEILING:
                return f"stopped at {more:.0f} MB"
        return ""

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=False)
        self._process.start()
        theirs.close()
        if self._setup is not None:
            setup, self._setup = self._setup, None
            answer = self.run(setup, clock=300)
            self._setup = setup
            if answer.kind != "returned":
                raise RuntimeError(f"a worker does not start: {answer.kind}, {answer.said}")

    def _stop(self) -> None:
        """With all that the process started."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()
        self._process.join()
        self._process = None


def command(*arguments: str) -> None:
    """`rtseg` with these arguments, in the worker's process."""
    from rtseg.cli import main

    main(list(arguments))


def resident() -> float:
    """Megabytes of this process."""
    return _memory(os.getpid(), "VmRSS")


def last_line(text: str) -> str:
    """The last line that is not empty."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _serve(connection: Connection) -> None:
    os.setsid()
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        connection.send(_answer(function, arguments))


def _answer(function: Callable[..., Any], arguments: tuple) -> Answer:
    _forget_peak()
    before, busy = _memory(os.getpid(), "VmRSS"), time.process_time()
    status = None
    with _captured() as capture:
        try:
            kind, said = "returned", str(function(*arguments))
        except UserError as error:
            kind, said = "refused", str(error)
        except SystemExit as end:
            kind, said = "exited", ""
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException as error:  # whatever a case does, the next one runs
            kind, said = "raised", f"{type(error).__name__}: {error}"
    printed = capture.getvalue()
    return Answer(
        kind,
        said or last_line(printed),
        printed[-20_000:],
        busy=time.process_time() - busy,
        megabytes=_memory(os.getpid(), "VmHWM") - before,
        status=status,
    )


@contextmanager
def _captured() -> Iterator[io.StringIO]:
    """What libraries print too, which know no `sys.stdout`."""
    text = io.StringIO()
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = os.dup(1), os.dup(2)
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield text
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in enumerate(kept, 1):
                os.dup2(copy, number)
                os.close(copy)
            file.seek(0)
            text.write(file.read().decode(errors="backslashreplace"))


def _memory(process: int, what: str) -> float:
    """Megabytes of a process: VmRSS what it has, VmHWM the most it had; 0 where the system does not tell."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{what}:")), 0.0)


def _forget_peak() -> None:
    """VmHWM begins anew, where the system allows it; else a case is also charged with the peaks before it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
