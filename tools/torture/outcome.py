"""What a case came to, and groups of cases, run one after the other."""

import ast
import importlib.util
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from rtseg.terminal import visible


@dataclass(frozen=True)
class Outcome:
    """What one case came to.

    Attributes:
        case: which, in a few words.
        good: whether the program did what its documentation promises.
        said: the program's last line, or what was measured.
        seconds: how long the case took.
    """

    case: str
    good: bool
    said: str
    seconds: float


def find_groups(folder: Path) -> dict[str, Path]:
    """Name and file of each module of a folder that defines `outcomes(folder, quick)`."""
    files = sorted(folder.glob("*.py"))
    return {file.stem: file for file in files if re.search(r"^def outcomes\(", file.read_text(), re.M)}


def description(file: Path) -> str:
    """The first line of a group's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def run_group(file: Path, folder: Path, *, quick: bool) -> Iterator[Outcome]:
    """The outcomes of a group, one by one. An exception of the group itself is one bad outcome, and its last.

    Args:
        file: the group's module.
        folder: an empty folder, for whatever it writes.
        quick: a sample of the cases instead of all.
    """
    begin = time.perf_counter()
    try:
        yield from _import(file).outcomes(folder, quick)
    except Exception as error:  # whatever a group does, the others run
        said = f"{type(error).__name__}: {error}"
        yield Outcome("the group itself", False, said, time.perf_counter() - begin)


def one_line(text: str) -> str:
    """A foreign text, its control characters and line ends written out."""
    return visible(text).replace("\n", "\\n")


def _import(file: Path) -> ModuleType:
    """A module from its file, under the name by which processes that it starts find it."""
    name = f"{__package__}.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
