"""What data sets look for and what they find, told to whoever asks.

A training ends at the first image without a mask. `rtseg check-data` wants all of them, and the files that lie beside
those that were found.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Search:
    """One search for files.

    Attributes:
        folder: it began there.
        suffixes: of the files that were wanted.
        found: they are.
    """

    folder: Path
    suffixes: tuple[str, ...]
    found: list[Path]


@dataclass(frozen=True)
class Unpaired:
    """The files that one pairing of images and masks leaves over.

    Attributes:
        images: without a mask.
        masks: without an image.
        doubled: a name, and two files that stand for it.
    """

    images: list[Path]
    masks: list[Path]
    doubled: list[tuple[str, Path, Path]]


@dataclass
class Gathered:
    """What data sets have told."""

    searches: list[Search] = field(default_factory=list)
    unpaired: list[Unpaired] = field(default_factory=list)


_GATHERED: ContextVar[Gathered | None] = ContextVar("gathered", default=None)


@contextmanager
def gathering() -> Iterator[Gathered]:
    """While it lasts, data sets leave out files without a partner, and tell them, instead of refusing them."""
    gathered = Gathered()
    token = _GATHERED.set(gathered)
    try:
        yield gathered
    finally:
        _GATHERED.reset(token)


def listener() -> Gathered | None:
    """Whom to tell; None where nobody asks."""
    return _GATHERED.get()
