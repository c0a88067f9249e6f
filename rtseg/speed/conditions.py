"""The conditions of a timing: one object for commands, callbacks and studies. Reports print it."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch

from rtseg.checks import check_above, check_at_least, check_between, check_finite, check_whole
from rtseg.deploy.device import choose_device
from rtseg.errors import UserError

_MOST_THREADS = 1024  # tens of thousands end the process without a word, when it first computes


@dataclass(frozen=True)
class Conditions:
    """What all rows of a report share, and their sizes and batches.

    Attributes:
        sizes: (height, width) of the images; each makes rows of its own.
        batches: images in one run; each makes rows of its own.
        seconds: that each figure is timed at least.
        rounds: runs that each figure is timed at least.
        most_seconds: enough for a figure in any case, warm-up not counted; None takes three times `seconds`.
        warmup_seconds: of each step before it is timed, at least; at most four times as long.
        device: where; None takes a GPU where there is one.
        threads: of every engine on a CPU; None leaves PyTorch's.
        seed: of the weights of untrained networks: what a class map takes depends on the logits.
        min_parity: per cent of equal pixels below which a row is not timed, instead of its precision's own tolerance.
    """

    sizes: Sequence[tuple[int, int]] = ((512, 512),)
    batches: Sequence[int] = (1,)
    seconds: float = 6.0
    rounds: int = 200
    most_seconds: float | None = None
    warmup_seconds: float = 1.0
    device: str | torch.device | None = None
    threads: int | None = None
    seed: int = 0
    min_parity: float | None = None

    def __post_init__(self) -> None:
        for name, example in (("sizes", "[(512, 512)]"), ("batches", "[1]")):
            given = getattr(self, name)
            if not isinstance(given, list | tuple) or not given:
                raise UserError(f"{name}={given!r} must be a list of at least one, as in {example}")
        for size in self.sizes:
            if not isinstance(size, list | tuple) or len(size) != 2:
                raise UserError(f"sizes: {size!r} must be (height, width), as in [(512, 512)]")
            check_whole("height", size[0], 1)
            check_whole("width", size[1], 1)
        for batch in self.batches:
            check_whole("batch size", batch, 1)
        for name in ("seconds", "warmup_seconds", "most_seconds"):
            if getattr(self, name) is not None:
                check_finite(name, getattr(self, name))
        if self.most_seconds is None:
            check_above("seconds", self.seconds, 0, "it is how long each figure is timed, as in --seconds 6")
        else:
            check_above("most_seconds", self.most_seconds, 0)
            check_between("seconds", self.seconds, 0, self.most_seconds, "the upper end is most_seconds")
        check_at_least("warmup_seconds", self.warmup_seconds, 0)
        check_whole("rounds", self.rounds, 1)
        if self.threads is not None:
            check_whole("threads", self.threads, 1)
            check_between("threads", self.threads, 1, _MOST_THREADS, "more than the cores make nothing faster")
        check_whole("seed", self.seed, 0)
        if self.min_parity is not None:
            check_between("min_parity", self.min_parity, 0, 100, "it is per cent of equal pixels")
        object.__setattr__(self, "sizes", tuple((height, width) for height, width in self.sizes))
        object.__setattr__(self, "batches", tuple(self.batches))
        if self.device is not None:
            choose_device(self.device)

    @property
    def where(self) -> torch.device:
        """The device that is measured."""
        return choose_device(self.device)

    @property
    def limit(self) -> float:
        """Seconds that are enough for a figure."""
        return 3 * self.seconds if self.most_seconds is None else self.most_seconds

    @property
    def shapes(self) -> list[tuple[int, int, int]]:
        """(batch, height, width) of the rows."""
        return [(batch, height, width) for (height, width), batch in itertools.product(self.sizes, self.batches)]

    @contextmanager
    def seeded(self) -> Iterator[None]:
        """Seeds PyTorch's random numbers on the CPU, and restores their state afterwards."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            yield

    def shorter(self) -> Self:
        """A third of the time, which is enough for a stage."""
        limit = 2 * self.seconds / 3 or self.most_seconds
        return dataclasses.replace(self, seconds=self.seconds / 3, most_seconds=limit, rounds=min(50, self.rounds))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **dataclasses.asdict(self),
            "sizes": [list(size) for size in self.sizes],
            "batches": list(self.batches),
            "device": str(self.where),
            "most_seconds": self.limit,
        }

    @classmethod
    def describe(cls, found: Mapping[str, Any]) -> str:
        """What `to_dict` gave, in words."""
        asked = f", parity of {found['min_parity']:g} % asked" if found["min_parity"] is not None else ""
        return (
            f"each figure timed for at least {found['seconds']:g} s and {found['rounds']} runs, at most "
            f"{found['most_seconds']:g} s, after {found['warmup_seconds']:g} s of warm-up; on {found['device']}, "
            f"threads {found['threads']}, seed {found['seed']}{asked}"
        )

    def __str__(self) -> str:
        return self.describe(self.to_dict())
