"""The one exception whose message is written for the person at the keyboard."""

import importlib
import traceback
import zipfile
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

# What zipfile raises of archives that are damaged, encrypted, or packed in a way that it does not know.
DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OSError, RuntimeError)
_SEARCHED = 2000  # names that are compared with a wrong one
STOPPED = 75  # exit status of a command that was stopped and can be resumed; sysexits.h calls it a temporary failure


class UserError(ValueError):
    """Bad input: the message names the bad value, the good values and the repair; commands print it, no traceback."""


def first_line(error: Exception) -> str:
    """What a library's error says first; the rest is often its own traceback."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def nearest(names: Sequence[str], near: str, most: int = 3) -> str:
    """Some of the names, those that are most like `near`, and how many more there are: "a.png, b.png and 7 more"."""
    if len(names) <= most:
        return ", ".join(names)
    searched = names[:_SEARCHED]
    chosen = get_close_matches(near, searched, n=most, cutoff=0)
    return f"{', '.join(name for name in searched if name in chosen)} and {len(names) - most} more"


def described(error: Exception) -> str:
    """What to say of an error in code that others wrote: its kind, its message, and the line where it was raised."""
    if isinstance(error, UserError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    theirs = frames and not Path(frames[-1].filename).is_relative_to(Path(__file__).parent)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if theirs else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def require(module: str, extra: str) -> ModuleType:
    """Imports a library that an extra of this project brings.

    Raises:
        UserError: it is not installed; the message has the line that installs it.
    """
    return require_package(module, f"rtseg[{extra}]")


def require_package(module: str, package: str) -> ModuleType:
    """Imports a library that `pip install` of this package brings.

    Raises:
        UserError: it is not installed; the message has the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{module} is missing here ({error}). Install it: pip install '{package}'") from None
