"""What the project's command lines share: their looks, `--plugin`, Lightning's commands, errors in one line.

Each command imports what it needs when it runs.
"""

import importlib
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer

from rtseg.disk import refusal, refused
from rtseg.errors import STOPPED, UserError
from rtseg.terminal import Console, say

_FIT_AGAIN = "The same command starts again; where there is a last.ckpt in the run folder, add --ckpt_path"
_SIGHUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none

Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: a GPU where there is one")]


def create_app(name: str, help: str) -> typer.Typer:
    """A command line without commands.

    Args:
        name: as it is typed.
    """
    return typer.Typer(
        name=name,
        help=help,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def lightning_command(
    app: typer.Typer, name: str, help_text: str, module: str, look: Callable[[str, list[str]], None]
) -> None:
    """Lists a LightningCLI command in an app's `--help` without importing Lightning.

    Args:
        module: whose `main` runs it.
        look: is given the command's name and its flags before that module is imported, to refuse them or to show help.
    """

    @app.command(
        name,
        help=help_text,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    def run(context: typer.Context) -> None:
        look(name, context.args)
        with resumable(_FIT_AGAIN) if name == "fit" else _stopped_at_once():
            words = ["--help" if word == "--help-all" else word for word in context.args]
            importlib.import_module(module).main([name, *words])


def say_at_once(text: str) -> None:
    """Prints a line, also from a signal handler, where `print` may meet itself, and without a terminal to print to."""
    with suppress(OSError):
        os.write(1, f"\n{text}\n".encode())


def catch_signals(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Has Ctrl-C, SIGTERM and SIGHUP call `handler`; an ignored SIGHUP stays ignored, which is how nohup asks for it.

    With SIGHUP the terminal is gone, and what is still printed to it would be an error: it goes nowhere instead.

    Returns:
        What they did before, for `restore_signals`.
    """
    terminal = [number for number in range(3) if os.isatty(number)]

    def handle(number: int, frame: FrameType | None) -> None:
        if number == _SIGHUP:
            nowhere = os.open(os.devnull, os.O_RDWR)
            for stream in terminal:
                os.dup2(nowhere, stream)
            os.close(nowhere)
        handler(number, frame)

    caught = [signal.SIGINT, signal.SIGTERM]
    if _SIGHUP is not None and signal.getsignal(_SIGHUP) != signal.SIG_IGN:
        caught.append(_SIGHUP)
    return {number: signal.signal(number, handle) for number in caught}


def restore_signals(previous: Mapping[int, Any]) -> None:
    """What `catch_signals` returned is back."""
    for number, handler in previous.items():
        signal.signal(number, handler)


@contextmanager
def resumable(repair: str | Callable[[], str]) -> Iterator[None]:
    """What is done inside can be resumed: Ctrl-C, SIGTERM and SIGHUP end the program with status 75.

    Args:
        repair: how to resume it, a sentence; or what makes that sentence when it is needed.
    """

    with _ended_by_signals(repair, lambda number: STOPPED):
        yield


@contextmanager
def _stopped_at_once() -> Iterator[None]:
    """Nothing can be resumed: a signal ends the program with 128 and its number, as a shell counts it."""
    with _ended_by_signals("Nothing was scored; the same command starts again.", lambda number: 128 + number):
        yield


@contextmanager
def _ended_by_signals(repair: str | Callable[[], str], status: Callable[[int], int]) -> Iterator[None]:
    how: list[str] = []

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        how[:] = [repair() if callable(repair) else repair]
        raise SystemExit(status(number))

    previous = catch_signals(stop)
    try:
        yield
    finally:
        if how:  # not in `stop`: progress bars that end on the way here are drawn once more
            say_at_once(f"Stopped. {how[0]}")
        restore_signals(previous)


def plugin_option(app: typer.Typer) -> None:
    """Gives an app the option `--plugin`; `run_app` takes it before and after the name of a command."""

    @app.callback()
    def load(
        plugin: Annotated[
            list[str] | None,
            typer.Option(
                metavar="FILE|MODULE",
                help="your own attention, backbone, head, loss, data set, engine or rival; may be repeated",
            ),
        ] = None,
    ) -> None:
        from rtseg.plugins import load_plugin

        for name in plugin or []:
            load_plugin(name)


def _plugins_first(args: list[str]) -> list[str]:
    """Moves every --plugin before the command: LightningCLI's parser does not know it."""
    plugins: list[str] = []
    others: list[str] = []
    rest = iter(args)
    for word in rest:
        if word == "--":
            others += [word, *rest]
        elif word == "--plugin":
            value = next(rest, "")
            if not value or value.startswith("-"):
                raise UserError("--plugin needs a file or a module, as in --plugin my_attention.py")
            plugins += [word, value]
        elif word.startswith("--plugin="):
            plugins.append(word)
        else:
            others.append(word)
    return [*plugins, *others]


def _refuse(message: str) -> NoReturn:
    Console(stderr=True).error(f"error: {message}")
    sys.exit(2)


def run_app(app: typer.Typer, args: list[str] | None = None) -> None:
    """Runs a command line; an error of the user's ends in one line and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal without UTF-8 cannot write is shown as an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        app(_plugins_first(sys.argv[1:] if args is None else args))
    except UserError as error:
        # From a loader's process it comes wrapped in that process's traceback.
        _refuse(str(error).rsplit(f"{UserError.__module__}.{UserError.__qualname__}: ", 1)[-1].strip())
    except (OSError, RuntimeError) as error:
        if reason := refused(error):  # without a name it is of what is printed: files are written by name
            place = Path(reason.filename) if reason.filename else None
            _refuse(str(refusal(reason, place)) if place else f"what is printed cannot be written: {reason.strerror}")
        # gloo's words in the other processes of a training when one has ended
        if not re.search("closed by peer|reset by peer", str(error)):
            raise
        say("error: another process of this training ended; its own message says why", stderr=True)
        sys.exit(2)
