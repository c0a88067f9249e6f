"""Plug-ins: files and packages of others that register an attention, a backbone, a head, a data set, an engine, ...

`load_plugin` loads one, and so does `--plugin` of every command. Two kinds come by themselves, when a registry is first
asked for all its names or for one that it does not have: installed packages with an entry point in the group
`rtseg.plugins`, and what the environment variable `RTSEG_PLUGINS` names, by which a command hands its plug-ins to the
processes that it starts. A checkpoint says which it needs, and loads none.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from rtseg.errors import UserError, nearest

GROUP = "rtseg.plugins"
ENVIRONMENT = "RTSEG_PLUGINS"

_loaded: dict[str, str] = {}  # module name -> what the plug-in is called
_loading: list[str] = []  # what is being loaded, the innermost last
_noting: list[set[str]] = []
_searched = False


def load_plugin(plugin: str | Path) -> str:
    """Loads a plug-in, unless it is loaded already.

    A file is imported under its own name with its folder at the end of Python's path, as a script's neighbours are: it
    may import files beside it, and processes that are started later find what it defines.

    Args:
        plugin: a .py file, or the name of a module that Python can import.

    Returns:
        What cards and messages call it, see `loaded_plugins`.

    Raises:
        UserError: there is no such file or module, or it fails; the message says where and why.
    """
    text = os.fspath(plugin)
    if text.endswith(".py") or "/" in text or os.sep in text:
        file = Path(text)
        _load_file(file)
        name, source = file.stem, str(file.resolve())
    else:
        _load_module(text, f"plug-in '{text}'", "install it, or give a file, as in --plugin my_attention.py")
        name, source = text, text
    known = [entry for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry]
    os.environ[ENVIRONMENT] = os.pathsep.join(dict.fromkeys([*known, source]))
    return _loaded[name]


def loaded_plugins() -> tuple[str, ...]:
    """Names of the loaded plug-ins: a module's name, or a file's path below the current folder.

    Of a file elsewhere only the last part of its path is given, so that a checkpoint does not tell a machine's folders.
    """
    return tuple(_loaded.values())


def some_given() -> bool:
    """Whether there are plug-ins, loaded or to be loaded: names that rtseg itself does not have may be theirs."""
    return bool(_loaded or os.environ.get(ENVIRONMENT) or entry_points(group=GROUP))


def load_installed() -> None:
    """Loads what the environment variable and the entry points name, once.

    Raises:
        UserError: see `load_plugin`.
    """
    global _searched
    if _searched:
        return
    _searched = True  # before they are loaded: each asks registries itself
    try:
        for plugin in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
            if plugin:
                load_plugin(plugin)
        for point in entry_points(group=GROUP):
            _load_entry_point(point)
    except UserError:
        _searched = False
        raise


def loading() -> str | None:
    """What the plug-in is called whose code is running; None where it is none, as in a file of rtseg that a plug-in is
    the first to import.
    """
    frame = sys._getframe()
    while frame.f_back and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    ours = frame.f_globals.get("__name__", "").partition(".")[0] in ("rtseg", "pretrain")
    return None if ours or not _loading else _loading[-1]


@contextmanager
def noting() -> Iterator[set[str]]:
    """A set that is filled with the plug-ins whose registered things are looked up inside."""
    found: set[str] = set()
    _noting.append(found)
    try:
        yield found
    finally:
        _noting.pop()


def note(plugin: str | None) -> None:
    """Tells the `noting` around it that something of this plug-in was looked up."""
    if plugin is not None:
        for found in _noting:
            found.add(plugin)


def missing(wanted: Sequence[str]) -> list[str]:
    """Those of a card's plug-ins that are not loaded."""
    have = {Path(plugin).name for plugin in _loaded.values()}
    return [plugin for plugin in wanted if Path(plugin).name not in have]


def how_to_load(wanted: Sequence[str]) -> str:
    """How to load these plug-ins, as the end of a sentence."""
    flags = " ".join(f"--plugin {plugin}" for plugin in wanted)
    calls = "; ".join(f"rtseg.load_plugin('{plugin}')" for plugin in wanted)
    return f"add {flags} to the command (in Python, first: {calls})"


def _load_file(file: Path) -> None:
    path, name = file.resolve(), file.stem
    if file.suffix != ".py" or path.is_dir():
        raise UserError(f"plug-in '{file}' is not a .py file; give one, as in --plugin my_attention.py")
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise UserError(f"plug-in '{file}' does not exist; .py files there: {nearest(beside, path.name) or 'none'}")
    if "." in name:
        raise UserError(f"plug-in '{file}': a module's name has no dot; call it {name.replace('.', '_')}.py")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    found = _file_of(name)
    if found != path:
        where = f"of the file {found}" if found else "of Python itself"
        raise UserError(f"plug-in '{file}': '{name}' is also the name {where}; rename yours")
    called = path.relative_to(Path.cwd()).as_posix() if path.is_relative_to(Path.cwd()) else path.name
    _import(name, called, f"plug-in '{called}'", [str(path)])


def _file_of(module: str) -> Path | None:
    """Where Python would take a module from, or has taken it."""
    if module in sys.modules:
        origin = getattr(sys.modules[module], "__file__", None)
    else:
        importlib.invalidate_caches()  # the file may be a second old
        spec = importlib.util.find_spec(module)
        origin = spec.origin if spec else None
    return Path(origin).resolve() if origin and Path(origin).exists() else None


def _load_module(name: str, described: str, repair: str) -> None:
    package = name.partition(".")[0]  # a look-up of what is in it would import it
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # no name at all
        spec = None
    if spec is None:
        raise UserError(f"{described}: Python finds no module '{package}'; {repair}")
    _import(name, name, described, [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin else ())])


def _load_entry_point(point: EntryPoint) -> None:
    package = point.dist.name if point.dist else point.module
    described = f"plug-in '{point.name}' of the installed package '{package}'"
    _load_module(point.module, described, "repair or uninstall the package")


def _import(name: str, called: str, described: str, sources: Sequence[str]) -> ModuleType:
    """Imports a module as a plug-in.

    Args:
        name: the module's.
        called: for cards.
        described: for errors.
        sources: files or folders of its own code, to say in which line of it an error lies.
    """
    if name in _loaded:
        return sys.modules[name]
    _loading.append(called)
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        message = error.msg if isinstance(error, SyntaxError) else error
        raise UserError(f"{described}{_line(error, sources)}: {kind}{message}") from error
    finally:
        _loading.pop()
    _loaded[name] = called
    return module


def _line(error: BaseException, sources: Iterable[str]) -> str:
    """', line 7' of the code in which an error lies; with the file's name where that is not the first source."""
    places = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        places.append((error.filename, error.lineno))
    own = [(file, line) for file, line in places if any(Path(file).is_relative_to(source) for source in sources)]
    if not own:
        return ""
    file, line = own[-1]
    return f", line {line}" if file in sources else f", line {line} of {Path(file).name}"
