"""Models, attentions and data sets are found by name; an error names the nearest right one."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Generic, TypeVar

from rtseg import plugins
from rtseg.errors import UserError

T = TypeVar("T")


class UnknownNameError(UserError):
    """A name that nothing is registered under.

    Args:
        unknown: what is, as in "unknown attention 'gaf'".
        known: what the message says after it, see `suggest`.
    """

    def __init__(self, unknown: str, known: str = "") -> None:
        super().__init__(unknown + known)
        self.unknown, self.known = unknown, known


def suggest(name: str, known: Iterable[str]) -> str:
    """The tail of an error about a wrong name: the nearest right name, then all of them.

    The shortest that begins with what was typed is the nearest.
    """
    names, typed = sorted(known), str(name).lower()
    longer = sorted((right for right in names if typed and right.startswith(typed)), key=len)
    near = longer or get_close_matches(typed, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{hint} Known: {', '.join(names) or 'none'}."


def import_files(package: str, path: Iterable[str]) -> None:
    """Imports every file of a package, so that all that they register is found. A new file needs no list.

    Args:
        package, path: `__name__` and `__path__` of the package.
    """
    for module in pkgutil.iter_modules(path):
        importlib.import_module(f"{package}.{module.name}")


@contextmanager
def trained_with(wanted: Sequence[str]) -> Iterator[None]:
    """Encloses what rebuilds a trained network. The error about an unknown name says which plug-in to load.

    Args:
        wanted: `ModelCard.plugins`. Empty where the name was registered in rtseg's own tree, and for old checkpoints.

    Raises:
        UnknownNameError: a name that nothing is registered under.
    """
    try:
        yield
    except UnknownNameError as error:
        if not wanted:
            raise UnknownNameError(
                f"{error} If it is your own, it is not loaded here: add --plugin FILE, the .py file that registers it "
                "(in Python, first: rtseg.load_plugin('FILE'))."
            ) from None
        if missing := plugins.missing(wanted):  # then the names that are known do not help
            raise UnknownNameError(
                f"{error.unknown}: it needs the plug-in {', '.join(missing)}, which is not loaded; "
                f"{plugins.how_to_load(missing)}"
            ) from None
        raise UnknownNameError(
            f"{error} It was trained with the plug-in {', '.join(wanted)}. The plug-in of that name that is loaded now "
            "does not register it."
        ) from None


class Registry(Generic[T]):
    """A dictionary from name to `T` that is filled by a decorator, by rtseg's own files and by plug-ins.

    Args:
        kind: what is registered, as the error message calls it, e.g. "attention".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._plugins: dict[str, str | None] = {}  # name -> what brought it; None: rtseg itself

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: files the decorated object under `name`.

        Raises:
            UserError: this is no name that can be written in a flag, a text of attentions and a file's name; or, from
                the decorator, something else has it.
        """
        if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
            raise UserError(
                f"{self.kind} {name!r}: register it under a name of letters, digits, '_', '-' and '.', as in "
                f'`@register_...("my_{self.kind.split()[-1]}")`'
            )

        def decorate(entry: T) -> T:
            if name in self._entries:
                other = f" by the plug-in {self._plugins[name]}" if self._plugins[name] else ""
                raise UserError(f"{self.kind} '{name}' is registered already{other}; choose another name")
            self._entries[name] = entry
            self._plugins[name] = plugins.loading()
            return entry

        return decorate

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UnknownNameError: nothing has this name; the message holds the nearest one and the list.
        """
        if not isinstance(name, str) or name not in self._entries:
            plugins.load_installed()
        if not isinstance(name, str) or name not in self._entries:
            raise UnknownNameError(f"unknown {self.kind} '{name}'", f".{suggest(name, self._entries)}")
        plugins.note(self._plugins[name])
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        plugins.load_installed()
        return sorted(self._entries)

    def entries(self) -> dict[str, T]:
        """All of them by name, in the order in which they were registered; nothing counts as used by this."""
        plugins.load_installed()
        return dict(self._entries)
