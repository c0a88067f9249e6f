"""How far `rtseg predict` is, for a signal that stops it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rtseg.terminal import counted


@dataclass
class Counts:
    """How far a command is.

    Attributes:
        done: images whose results are written, now or by an earlier command.
        total: images in all.
        film: the film or the live source in work; None before the first.
        frames: of it that are written.
        settle: waits until what the network has begun is written, and lets no more be written.
    """

    done: int = 0
    total: int = 0
    film: Path | str | None = None
    frames: int = 0
    settle: Callable[[], None] = lambda: None

    def sentence(self) -> str:
        """How far it is, for the person who stopped it. From then on no more is written."""
        self.settle()
        images = f"{self.done} of {self.total} images are written." if self.total else ""
        film = f"{counted(self.frames, 'frame')} of '{self.film}' {'is' if self.frames == 1 else 'are'} written."
        return " ".join(filter(None, (images, film if self.film else ""))) or "Nothing is written yet."
