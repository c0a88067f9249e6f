"""Loader processes that stand still, are killed, or are sent a signal that is not for them."""

import os
import signal
import time
from pathlib import Path

import pytest
from torch.utils.data import Dataset

from rtseg.errors import UserError
from rtseg.training.loading import StartWorker, WatchedLoader, reading, reading_each, why_killed
from tests.helpers.fresh import run_fresh


class Files(Dataset[int]):
    """Numbers; behind some of them stands a pipe that nobody writes to."""

    def __init__(self, folder: Path, pipes: tuple[int, ...] = ()) -> None:
        self.files = [folder / f"{number}.png" for number in range(6)]
        for number, file in enumerate(self.files):
            os.mkfifo(file) if number in pipes else file.touch()

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> int:
        with reading(self.files[index], "its mask"):
            self.files[index].read_bytes()
        return os.getpid()


def loader(data: Files, num_workers: int = 2, timeout: float = 0.5) -> WatchedLoader:
    return WatchedLoader(
        data, batch_size=None, num_workers=num_workers, timeout=timeout, worker_init_fn=StartWorker(num_workers)
    )


def test_files_that_are_not_come_are_named(tmp_path: Path) -> None:
    data = Files(tmp_path, pipes=(2, 3))
    with pytest.raises(UserError, match=r"no batch came from the 2 loader processes for 0\.5 seconds") as error:
        list(loader(data))
    assert sum(f"{data.files[number]} and its mask" in str(error.value) for number in range(6)) == 2
    assert f"{data.files[2]} and its mask" in str(error.value)


def test_a_signal_to_all_processes_ends_no_loader(tmp_path: Path) -> None:
    """In a process of its own: trainings of other tests leave theirs with handlers and threads."""
    program = f"from tests.training.test_loading import signalled; signalled({str(tmp_path)!r})"
    status, _, errors = run_fresh(program, tmp_path)
    assert status == 0, errors


def signalled(folder: str) -> None:
    """A loader process gets the signals that a terminal or a scheduler sends to all."""
    batches = iter(loader(Files(Path(folder)), num_workers=1, timeout=20))
    worker = next(batches)
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(worker, number)
    sender = os.fork()  # the worker's own parent is obeyed
    if not sender:
        os.kill(worker, signal.SIGTERM)
        os._exit(0)
    os.waitpid(sender, 0)
    time.sleep(0.1)
    assert set(batches) == {worker}


def test_a_killed_process_is_explained(tmp_path: Path) -> None:
    batches = iter(loader(Files(tmp_path), num_workers=1, timeout=6))
    os.kill(next(batches), signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"killed by signal|exited unexpectedly") as error:
        list(batches)  # by PyTorch's handler of SIGCHLD, or where that was replaced when the next batch does not come
    said = why_killed(str(error.value))
    assert said is not None
    assert "usually for want of memory (" in said
    assert "GB of memory are free now): lower --data.num_workers" in said
    assert why_killed("CUDA error") is None
    assert "docker run --shm-size" in str(why_killed("DataLoader worker (pid 7) is killed by signal: Bus error. "))


def test_outside_a_loader_nothing_is_told() -> None:
    assert list(reading_each(range(3), "shard.tar")) == [0, 1, 2]
