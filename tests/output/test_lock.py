"""One command at a time in a folder, whatever becomes of the one before."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.output.folders import check_empty
from rtseg.output.lock import locked_folder, locked_target

# Holds the lock of a folder, with a child of its own, until it is killed.
HOLDER = """
import os, subprocess, sys, time
from pathlib import Path
from rtseg.output.lock import locked_folder
sys.argv = ["/somewhere/rtseg", "predict", "a b.ckpt"]
with locked_folder(Path(sys.path.pop())) as lock:
    {child}
    print(child, flush=True)
    time.sleep(60)
"""
FORKED = "child = os.fork() or time.sleep(60)"
HANDED_ON = "child = subprocess.Popen(['sleep', '60'], stdout=subprocess.DEVNULL, pass_fds=[lock]).pid"


def killed_holder(folder: Path, child: str) -> int:
    """The process of its child, which still runs."""
    program = f"import sys; sys.path.append({str(folder)!r})\n{HOLDER.format(child=child)}"
    holder = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    number = int(holder.stdout.readline())
    with pytest.raises(
        UserError, match=rf"`rtseg predict 'a b.ckpt'` \(process {holder.pid} on {socket.gethostname()}"
    ):
        locked_folder(folder).__enter__()
    holder.kill()
    holder.wait()
    return number


@pytest.mark.parametrize("kind", [locked_folder, locked_target])
def test_the_second_is_told_who_is_there(kind: type, tmp_path: Path) -> None:
    target = tmp_path / "far" / "results"
    with kind(target):
        with pytest.raises(UserError, match=rf"in use by `.*` \(process {os.getpid()} on .*, since 20.*wait until"):
            kind(target).__enter__()
        check_empty(target, "the lock is no content")
        check_empty(target.parent, "the lock is no content") if kind is locked_target else None
        with kind(target.with_name("others")):
            pass
    assert not any(tmp_path.iterdir()), "nothing was written, and nothing is left"


def test_a_link_to_a_place_is_that_place(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    (tmp_path / "page").symlink_to("there/page")
    for kind, name, target in ((locked_folder, "link", "there"), (locked_target, "page", "there/page")):
        with kind(tmp_path / target), pytest.raises(UserError, match="in use by"):
            kind(tmp_path / name).__enter__()


def test_the_root_is_no_place() -> None:
    with pytest.raises(UserError, match="'/' is the whole file system: give a folder"):
        locked_target(Path("/")).__enter__()


def test_what_was_written_stays_and_the_lock_goes(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "result").touch()
    with locked_target(tmp_path / "new" / ("n" * 255)):
        pass
    with locked_target(tmp_path / "new" / "net.onnx"):
        (tmp_path / "new" / "net.onnx").touch()
    assert sorted(path.name for path in (tmp_path / "new").rglob("*")) == ["net.onnx", "result", "run"]
    with suppress(KeyError), locked_folder(tmp_path / "old"):
        (tmp_path / "old" / "half").touch()
        raise KeyError
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["half"]


def test_the_lock_of_a_killed_command_is_free_at_once(tmp_path: Path) -> None:
    """Also while a process forked off by it, as a loader's are, has not noticed yet."""
    child = killed_holder(tmp_path, FORKED)
    try:
        assert (tmp_path / ".lock").exists()
        with locked_folder(tmp_path):
            pass
        assert not (tmp_path / ".lock").exists()
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_that_was_given_the_lock_keeps_it(tmp_path: Path) -> None:
    child = killed_holder(tmp_path, HANDED_ON)
    try:
        with pytest.raises(UserError, match=r"in use by a process that `rtseg predict .* started and left behind"):
            locked_folder(tmp_path).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)
    until = time.monotonic() + 5
    while True:
        try:
            with locked_folder(tmp_path):
                break
        except UserError:
            assert time.monotonic() < until


def test_no_two_hold_it_while_it_comes_and_goes(tmp_path: Path) -> None:
    inside, most, done = [0], [0], [0]

    def often() -> None:
        while done[0] < 60:
            try:
                with locked_folder(tmp_path / "run"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.001)
                    inside[0] -= 1
                    done[0] += 1
            except UserError:
                pass

    threads = [threading.Thread(target=often) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert done[0] >= 60
    assert not list(tmp_path.rglob("*.lock"))


def test_a_file_system_without_locks_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked_folder(tmp_path / "run"):
        pass
    assert "has no locks (No locks available): start no second command" in capsys.readouterr().err


def test_a_lock_of_another_kind_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(UserError, match=r"\.lock', which keeps other commands out, cannot be opened"):
        locked_folder(tmp_path).__enter__()
    assert (tmp_path / "mine").read_text() == "mine"


def test_a_patient_command_waits_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with locked_target(tmp_path / "weights"):
        free = threading.Event()

        def wait() -> None:
            with locked_target(tmp_path / "weights", patience=60):
                free.set()

        second = threading.Thread(target=wait)
        second.start()
        while "waiting for another command" not in capsys.readouterr().err:
            assert not free.is_set()
            time.sleep(0.05)
    second.join(timeout=60)
    assert free.is_set()


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc")
def test_a_folder_that_takes_no_files_is_named() -> None:
    with pytest.raises(UserError, match="no file can be made in '/proc'"), locked_target(Path("/proc/net.onnx")):
        pass
