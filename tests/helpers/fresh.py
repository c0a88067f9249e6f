"""Programs in a process of their own, since what is loaded or registered stays.

Importing torch and Lightning takes seconds. So one process imports them and computes nothing, once for all workers of
xdist; every program runs in a fork of it.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
from functools import cache
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp

ROOT = Path(__file__).parents[2]
_MODULES = (
    "rtseg.cli",
    "rtseg.training.cli",
    "rtseg.speed.command",
    "rtseg.deploy.class_map.cpu",
    "pretrain.cli",
    "torch.utils.tensorboard",
)
_SHARED = "RTSEG_FRESH"  # the variable that names the address of the server that the workers share


def run_fresh(program: str, folder: Path, *, path: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and errors of Python code, run in `folder`.

    Args:
        path: a folder that Python looks into for modules, beside `folder`.
        environment: variables beside those of this process.
    """
    variables = {**os.environ, **environment, "PYTHONPATH": str(path)}
    with TemporaryDirectory() as aside:
        files = [Path(os.devnull), *(Path(aside, name) for name in ("out", "err"))]
        streams = [os.open(file, os.O_RDWR | os.O_CREAT) for file in files]
        status = _ask(_server(), [program, str(folder), str(path), variables], streams)
        for stream in streams:
            os.close(stream)
        _, out, err = (file.read_text() if file.is_file() else "" for file in files)
        return status, out, err


def quick_python() -> str:
    """A program in place of `sys.executable`, which runs `-m rtseg ...` in a fork, and all else as Python does.

    It passes on the standard streams, the folder, the environment, signals and the exit status.
    """
    return str(Path(_server()).with_name("python"))


def stand_in() -> None:
    """What the program of `quick_python` does: its arguments are the server's address, and those of Python."""
    address, *arguments = sys.argv[1:]
    if arguments[:2] != ["-m", "rtseg"]:
        os.execv(sys.executable, [sys.executable, *arguments])
    words = arguments[2:]
    program = f"import sys; from rtseg.cli import main; sys.argv[:] = ['rtseg', *{words!r}]; main({words!r})"
    status = _ask(address, [program, os.getcwd(), str(ROOT), dict(os.environ)], [0, 1, 2], signals=True)
    sys.exit(status if status >= 0 else 128 - status)


def _ask(address: str, message: list[object], streams: list[int], *, signals: bool = False) -> int:
    """Exit status of a program that the server runs with these standard streams.

    Args:
        signals: pass on what this process is sent.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"."], streams)
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile() as answer:
            child = int(answer.readline())
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signals else ():
                signal.signal(number, lambda number, frame: os.kill(child, number))
            return int(answer.readline())


def share() -> None:
    """One server for all processes that this one starts; it imports nothing before the first program comes."""
    os.environ[_SHARED] = _start()


@cache
def _server() -> str:
    """Address of the server: the shared one, or this process's own."""
    return os.environ.get(_SHARED) or _start()


def _start() -> str:
    """Address of a new server, which ends with this process, whose end closes its input."""
    address = str(Path(mkdtemp(prefix="fresh-"), "socket"))
    _write_stand_in(Path(address).with_name("python"), address)
    command = [sys.executable, "-c", f"from tests.helpers.fresh import serve; serve({address!r})"]
    server = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    server.stdout.readline()
    _SERVERS.append(server)
    return address


def _write_stand_in(file: Path, address: str) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tests.helpers import fresh; fresh.stand_in()"
    file.write_text(f"#!/bin/sh\nexec '{sys.executable}' -S -c \"{program}\" '{address}' \"$@\"\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


_SERVERS: list[subprocess.Popen[str]] = []  # so that their input stays open


def serve(address: str) -> None:
    """Runs each program that it is asked for in a fork."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("listening", flush=True)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if sys.stdin in ready:
                break
            connection, _ = listener.accept()
            _import_all()
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()
    rmtree(Path(address).parent)


@cache
def _import_all() -> None:
    gc.disable()
    for module in _MODULES:
        importlib.import_module(module)
    gc.freeze()  # no fork looks for garbage in what was imported
    gc.enable()


def _answer(connection: socket.socket) -> None:
    """Runs a program in one more fork, and says its process and its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile() as lines:
        message = json.loads(lines.readline())
    child = os.fork()
    if child == 0:
        connection.close()
        _run(streams, *message)
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{child}\n".encode())
    connection.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
    os._exit(0)


def _run(streams: list[int], program: str, folder: str, path: str, variables: dict[str, str]) -> None:
    import atexit
    import traceback

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Those of the server believe to be what they were: a file or a pipe.
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, 1) for number, mode in enumerate(("r", "w", "w")))
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:] = [folder, path, *(entry for entry in sys.path if entry not in ("", str(ROOT)))]
    status = 0
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
