"""What the tests of measuring share: quick conditions, rows by hand, engines that are wrong or watched."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.deploy.class_map import class_map
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.engines.eager import Eager
from rtseg.errors import UserError
from rtseg.speed.benchmark import (
    Conditions,
    NetworkReport,
    Timing,
)

STEADY: dict[str, Any] = {"device": {"name": "x"}}


QUICK = Conditions(device="cpu", warmup_seconds=0.0, rounds=3, seconds=0.0, most_seconds=2.0)


def row(**changes: Any) -> NetworkReport:
    """A row by hand."""
    common: dict[str, Any] = {
        "model": "m", "attention": "a", "num_classes": 3, "weights": "w", "backend": "eager:fp32", "engine": {},
        "input_size": (8, 8), "batch_size": 1, "parameters": 1, "macs": 1,
    }  # fmt: skip
    return NetworkReport(**common | changes)


def took(median_ms: float) -> Timing:
    return Timing.of([median_ms] * 20, batch_size=1, warmup_iterations=1)


def without_missing(*backends: str) -> list[str]:
    found = []
    for backend in backends:
        kind, precision = parse_backend(backend)
        try:
            kind.check(precision, torch.device("cpu"))
        except UserError:
            continue
        found.append(backend)
    return found


def spy_on_pictures(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    run = Eager.run

    def spy(self: Eager, pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return run(self, pictures)

    monkeypatch.setattr(Eager, "run", spy)
    return seen


# --- parity decides what is timed


def roll(self: Eager, logits: Tensor, size: tuple[int, int]) -> Tensor:
    return (class_map(logits, size) + 1) % 5
