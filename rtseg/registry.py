"""Models, attentions and data sets are found by name, and a wrong name meets the nearest right one."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Generic, TypeVar

from rtseg.errors import UserError

T = TypeVar("T")


class UnknownNameError(UserError):
    """A name that nothing is registered under."""


def suggest(name: str, known: Iterable[str]) -> str:
    """The tail of an error about a wrong name: the nearest right name, then all of them."""
    names = sorted(known)
    near = get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{hint} Known: {', '.join(names) or 'none'}."


class Registry(Generic[T]):
    """A dictionary from name to `T` that is filled by a decorator.

    Args:
        kind: what is registered, as the error message calls it, e.g. "attention".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: files the decorated object under `name`."""

        def decorate(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} '{name}' is registered already")
            self._entries[name] = entry
            return entry

        return decorate

    def get(self, name: str) -> T:
        """The entry called `name`.

        Raises:
            UnknownNameError: nothing has this name; the message holds the nearest one and the list.
        """
        if not isinstance(name, str) or name not in self._entries:
            raise UnknownNameError(f"unknown {self.kind} '{name}'.{suggest(name, self._entries)}")
        return self._entries[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._entries)
