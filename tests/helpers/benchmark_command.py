"""Conditions under which `rtseg benchmark` takes no longer than it must; a wrong engine."""

from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines.eager import Eager
from rtseg.speed.conditions import Conditions

SIZE = (32, 40)


QUICK = Conditions(sizes=[SIZE], device="cpu", threads=1, warmup_seconds=0.0, rounds=3, seconds=0.01, most_seconds=0.2)


# --- what it refuses


def wrong(self: Eager, logits: Tensor, size: tuple[int, int]) -> Tensor:
    return (class_map(logits, size) + 1) % 5
