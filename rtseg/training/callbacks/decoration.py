"""What only decorates a training cannot end it: a drawing, timing or log that fails is told once, and the steps go on.

Only training, validation and checkpoints may end a training.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

from lightning.pytorch.callbacks import Callback

from rtseg.errors import first_line
from rtseg.terminal import say

_told: set[tuple[str, str]] = set()  # (class, kind of error)


class Harmless:
    """Mixin, to be named first: what its `harmless` methods raise becomes a warning, and they return None.

    Each class warns once of each kind of exception.
    """

    @classmethod
    def harmless(cls) -> Iterable[str]:
        """Names of methods, own or inherited."""
        raise NotImplementedError

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in cls.harmless():
            setattr(cls, name, _guarded(getattr(cls, name)))


class Decoration(Harmless, Callback):
    """Base of callbacks that only decorate. Bad settings end a training at its start still: `setup` and `on_fit_start`
    are the hooks to check them in.
    """

    @classmethod
    def harmless(cls) -> Iterable[str]:
        hooks = (name for name in dir(Callback) if name.startswith("on_") and name != "on_fit_start")
        return [name for name in hooks if getattr(cls, name) is not getattr(Callback, name)]


class HarmlessLog(Harmless):
    """The same for a logger. That it can begin is not left to chance: making its file may fail."""

    @classmethod
    def harmless(cls) -> Iterable[str]:
        names = ("log_metrics", "log_hyperparams", "log_graph", "save", "after_save_checkpoint", "finalize")
        return [name for name in names if hasattr(cls, name)]


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(method, "is_harmless"):  # inherited
        return method

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            _tell(type(self).__name__, error)
            return None

    guarded.is_harmless = True  # type: ignore[attr-defined]
    return guarded


def _tell(name: str, error: Exception) -> None:
    kind = (name, type(error).__name__)
    if kind not in _told:
        _told.add(kind)
        with contextlib.suppress(OSError):  # a terminal that has gone
            say(
                f"Warning: {name} failed and is left out where it does ({kind[1]}: {first_line(error)}). "
                "The training continues.",
                stderr=True,
            )
