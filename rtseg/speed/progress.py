"""The progress of a measurement."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import rich.progress

from rtseg.terminal import Console


def _nothing(_: object) -> None:
    pass


@dataclass(frozen=True)
class Progress:
    """Functions to call while it runs.

    Attributes:
        building: what is built and checked next.
        timed: between the turns, what share of the timing is done, 0..1.
    """

    building: Callable[[str], None] = _nothing
    timed: Callable[[float], None] = _nothing

    def part(self, begin: float, share: float) -> Callable[[float], None]:
        """`timed` for a part of the whole, which begins at `begin` and has this share of it."""
        return lambda done: self.timed(begin + share * done)


@contextmanager
def progress_bar(description: str, console: Console) -> Iterator[Progress]:
    """A bar for `benchmark`. It moves between the turns only, so that it costs no row time.

    Where the console is no terminal, a line says what is built.
    """
    with rich.progress.Progress(console=console, disable=not console.is_terminal) as bars:
        bar = bars.add_task(description, total=1.0)

        def building(what: str) -> None:
            bars.update(bar, description=f"building {what}")
            if not console.is_terminal:
                console.print(f"building {what}", soft_wrap=True, highlight=False)

        def timed(share: float) -> None:
            bars.update(bar, completed=share, description=f"timing {description}")

        yield Progress(building, timed)


@contextmanager
def told(what: str, console: Console) -> Iterator[None]:
    """Says what goes on while the block runs: beside a moving sign, or in a line where the console is no terminal."""
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        console.print(what, soft_wrap=True)
        yield
