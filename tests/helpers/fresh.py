"""Programs in a process of their own, since what is loaded or registered stays.

Importing torch and Lightning takes seconds. So one process of each test worker imports them and computes nothing; every
program runs in a fork of it.
"""

import importlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]


def run_fresh(program: str, folder: Path, *, path: Path = ROOT, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and errors of Python code, run in `folder`.

    Args:
        path: a folder that Python looks into for modules, beside `folder`.
        environment: variables beside those of this process.
    """
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with TemporaryDirectory() as aside:
        said = [str(Path(aside, name)) for name in ("out", "err")]
        variables = {**os.environ, **environment, "PYTHONPATH": str(path)}
        server.stdin.write(json.dumps([program, str(folder), str(path), variables, said]) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        out, err = (Path(file).read_text() for file in said)
        return status, out, err


@cache
def _server() -> subprocess.Popen[str]:
    """Ends with this process, whose end closes its input."""
    command = [sys.executable, "-c", "from tests.helpers.fresh import serve; serve()"]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve() -> None:
    """Runs each program that comes by standard input in a fork, and answers with its exit status."""
    for module in ("rtseg.training.cli", "rtseg.speed.command", "pretrain.cli"):
        importlib.import_module(module)

    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(*json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _run(program: str, folder: str, path: str, variables: dict[str, str], said: tuple[str, str]) -> None:
    import atexit
    import traceback

    for number, file in zip((1, 2), said, strict=True):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
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
