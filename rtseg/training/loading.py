"""Loader processes: how they end, and the errors for those that hang or are killed."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from torch.utils.data import DataLoader, get_worker_info

from rtseg.data.augment import single_thread_opencv
from rtseg.errors import UserError
from rtseg.memory import free_memory

Item = TypeVar("Item")

_MOST = 1022  # bytes of the names on a worker's line
_line: torch.Tensor | None = None  # in a worker, its own
_alive: "WeakSet[WatchedLoader]" = WeakSet()


class StartWorker:
    """`worker_init_fn` of a loader. The training decides when its loader's processes end.

    A terminal or scheduler sends its signals to them too. Of SIGTERM only the training's own is obeyed.

    Attributes:
        board: (num_workers, bytes) uint8 in shared memory: the names of the files that each process reads.
    """

    def __init__(self, num_workers: int) -> None:
        self.board = torch.zeros(num_workers, 2 + _MOST, dtype=torch.uint8).share_memory_()

    def __call__(self, worker: int) -> None:
        global _line
        _line = self.board[worker]
        for name in ("SIGINT", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.SIG_IGN)
        if hasattr(signal, "sigwaitinfo"):
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            threading.Thread(target=_end_with_the_training, args=(os.getppid(),), daemon=True).start()
        single_thread_opencv()  # a worker is one thread: PyTorch sees to its own

    def read_now(self) -> list[str]:
        """What stands on the board."""
        lines = [bytes(line.tolist()) for line in self.board]
        return [
            text.decode(errors="replace") for line in lines if (text := line[2 : 2 + int.from_bytes(line[:2], "big")])
        ]


def _end_with_the_training(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)


@contextmanager
def reading(*files: str | Path) -> Iterator[None]:
    """Tells the training, while it lasts, which files this loader process reads."""
    if _line is None or get_worker_info() is None:
        yield
        return
    text = " and ".join(map(str, files)).encode(errors="replace")[:_MOST]
    content = torch.frombuffer(bytearray(len(text).to_bytes(2) + text), dtype=torch.uint8)
    _line[: len(content)] = content
    try:
        yield
    finally:
        _line[:2] = 0


def reading_each(items: Iterable[Item], *files: str | Path) -> Iterator[Item]:
    """`items`, and `reading` while the next one is waited for."""
    iterator = iter(items)
    while True:
        with reading(*files):
            try:
                item = next(iterator)
            except StopIteration:
                return
        yield item


class WatchedLoader(DataLoader[Any]):
    """A DataLoader whose error names the files that its processes hang at.

    Raises (from iterating):
        UserError: no batch came within `timeout` seconds.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _alive.add(self)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                if "timed out after" not in str(error):
                    raise
                message = self._stands_still()
                for worker in getattr(batches, "_workers", ()):
                    worker.terminate()  # each would be waited for
                raise UserError(message) from None
            yield batch

    def _stands_still(self) -> str:
        files = self.worker_init_fn.read_now() if isinstance(self.worker_init_fn, StartWorker) else []
        where = f"They are reading: {'; '.join(files)}" if files else "None of them is reading a file"
        return (
            f"no batch came from the {self.num_workers} loader processes for {self.timeout:g} seconds. {where}. Look "
            "whether the files can be read (a network drive may hang); where they are only slow, raise --data.timeout, "
            "whose 0 waits for ever"
        )


def why_killed(message: str) -> str | None:
    """What to do about a loader process that the system ended, by the message of PyTorch's error; None for others."""
    if "DataLoader worker" not in message or not ("killed by signal" in message or "exited unexpectedly" in message):
        return None
    number = sum(loader.num_workers for loader in _alive)
    if "Bus error" in message:
        return (
            f"a loader process, one of {number}, ended for want of shared memory: give more (docker run --shm-size=8g) "
            "or lower --data.num_workers; 0 needs none"
        )
    free = free_memory()
    left = "" if free is None else f", {free / 2**30:.1f} GB of memory are free now"
    return (
        f"the system ended a loader process, usually for want of memory ({number} processes load{left}): lower "
        f"--data.num_workers, --data.crop_size or --data.batch_size ({message.strip()})"
    )
