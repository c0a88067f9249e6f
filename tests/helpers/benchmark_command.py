"""Conditions under which `rtseg benchmark` takes no longer than it must; a wrong engine."""

from typing import Any

from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines.eager import Eager

SIZE = (32, 40)


TIMING: dict[str, Any] = {"warmup_seconds": 0.0, "min_iterations": 3, "min_seconds": 0.01, "max_seconds": 0.2}


QUICK: dict[str, Any] = {"input_sizes": [SIZE], "device": "cpu", "threads": 1, **TIMING}


# --- what it refuses


def wrong(self: Eager, logits: Tensor) -> Tensor:
    return (class_map(logits, self.shape[1:]) + 1) % 5
