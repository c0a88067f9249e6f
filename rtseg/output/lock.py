"""One command at a time writes to a folder or a file. A second command is told which one is at work."""

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from rtseg.addresses import shown
from rtseg.errors import UserError
from rtseg.output.folders import LOCK, beside, make_folder, missing_parents
from rtseg.terminal import say

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

_PATIENCE = 0.5  # seconds: another command may just be looking, or be ending
_held: dict[int, Path] = {}  # by this process: descriptor -> lock file


@contextmanager
def locked_folder(folder: Path) -> Iterator[int]:
    """Keeps other commands out of a folder while the block runs.

    A missing folder is made, and removed at the end if it is still empty. The lock is the file `.lock` in it. The
    system releases it when the process ends, however it ends.

    Returns:
        The lock's descriptor. Pass it to a child process (`pass_fds`) that shall keep others out as well.

    Raises:
        UserError: another command works there, or a process that it started; or the folder cannot be written to.
    """
    new = missing_parents(folder)
    make_folder(folder)
    try:
        with _locked(folder / LOCK, folder) as lock:
            yield lock
    finally:
        with suppress(OSError):  # not empty, as it should be
            for path in new:
                path.rmdir()


@contextmanager
def locked_target(target: Path, *, patience: float = _PATIENCE, waiting: str | None = None) -> Iterator[None]:
    """Keeps other commands from a file, or from a folder that is written aside and then moved, while the block runs.

    The target need not exist. The lock lies beside it. Missing parents are made.

    Args:
        patience: seconds to wait for another command, where that does the same for both.
        waiting: what is said while it waits; None says that another command works at the target.

    Raises:
        UserError: another command writes it; or the folder that it lies in cannot be written to.
    """
    target = Path(os.path.realpath(target))
    if not target.name:
        raise UserError(f"'{target}' is the whole file system: give a folder or a file in it")
    parent = target.parent
    new = missing_parents(parent)
    make_folder(parent)
    try:
        with _locked(beside(target, LOCK), target, patience, waiting):
            yield
    finally:
        with suppress(OSError):
            for path in new:
                path.rmdir()


@contextmanager
def _locked(file: Path, target: Path, patience: float = _PATIENCE, waiting: str | None = None) -> Iterator[int]:
    lock = _acquire(file, target, patience, waiting or f"waiting for another command, which works at '{target}'")
    _held[lock] = file
    try:
        with suppress(OSError):  # a full disk: who is there is then not said
            os.ftruncate(lock, 0)
            os.write(lock, _this_command().encode())
        yield lock
    finally:
        if _held.pop(lock, None):  # else this is a child of the holder
            with suppress(OSError):  # Windows removes no open file
                file.unlink()  # still locked: whoever has opened it sees that it is no longer there
            os.close(lock)


def _acquire(file: Path, target: Path, patience: float, waiting: str) -> int:
    """Descriptor of the lock file, which is locked and lies at its path."""
    until, told = time.monotonic() + patience, patience <= _PATIENCE
    while True:
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # the holder has just ended, and removed the folder that it had made
            if time.monotonic() > until:  # or no file can be made there, as in /proc
                raise UserError(f"no file can be made in '{file.parent}': choose another folder") from None
            make_folder(file.parent)
            continue
        except OSError as error:
            raise UserError(
                f"'{file}', which keeps other commands out, cannot be opened: {error.strerror}. If no command works "
                "here, remove it"
            ) from None
        if _lock(lock, target):
            with suppress(OSError):
                if os.path.samestat(os.fstat(lock), os.stat(file)):
                    return lock  # else its holder has just ended and removed it
        elif time.monotonic() > until:
            holder = os.pread(lock, 65536, 0)
            os.close(lock)
            raise UserError(_refusal(target, holder))
        elif not told and time.monotonic() > until - patience + _PATIENCE:
            told = True
            say(waiting, stderr=True)
        os.close(lock)
        time.sleep(0.02)


def _lock(descriptor: int, target: Path) -> bool:
    """Whether it could be had; also where the file system has no locks, which is said."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        say(
            f"the file system of '{target}' has no locks ({error.strerror}): start no second command in it", stderr=True
        )
    return True


def _this_command() -> str:
    program, *rest = sys.argv or [""]
    name = Path(program).name
    words = ["python", "-m", Path(program).parent.name] if name == "__main__.py" else [name]
    return json.dumps(
        {
            "command": shlex.join([*words, *map(shown, rest)])[:400],
            "process": os.getpid(),
            "host": socket.gethostname(),
            "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        }
    )


def _refusal(target: Path, written: bytes) -> str:
    try:
        holder = json.loads(written)
        command, process, host, since = (holder[key] for key in ("command", "process", "host", "since"))
    except (ValueError, KeyError, TypeError):  # not yet written, or by an older version
        return f"'{target}' is in use by another command: wait until it has ended, or choose another place"
    who = f"`{command}` (process {process} on {host}, since {since})"
    if host == socket.gethostname() and not _alive(process):
        who = f"a process that {who} started and left behind"
    return f"'{target}' is in use by {who}: wait until it has ended, stop it, or choose another place"


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError, TypeError):  # another user's
        return True
    return True


def _let_go() -> None:
    """A loader's process, forked off, would otherwise keep the lock of a command that was killed."""
    for lock in _held:
        os.close(lock)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)
