"""How time and memory of an attention really grow with the number of positions: measured, and fitted by a power."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rtseg.attention import create_attention
from rtseg.errors import UserError
from rtseg.speed.conditions import Conditions
from rtseg.speed.growth import count_floats, fit_power
from rtseg.speed.timing import measure_together


@dataclass(frozen=True)
class Growth:
    """One attention over growing maps, at batch 1 and in float32.

    Attributes:
        median_ms: of one forward pass, for each number of tokens.
        floats: numbers that it writes, counted while it runs (`count_floats`).
        time_exponent, memory_exponent: e of the power law y = a * tokens^e, by least squares of the logarithms.
    """

    attention: str
    channels: int
    tokens: tuple[int, ...]
    median_ms: tuple[float, ...]
    floats: tuple[int, ...]
    time_exponent: float
    memory_exponent: float


def measure_growth(sides: Mapping[str, Sequence[int]], conditions: Conditions, *, channels: int = 64) -> list[Growth]:
    """Runs each attention on square maps.

    Args:
        sides: one branch's choice, e.g. "nl:kind=dot" -> sides of the maps, at least two.
        conditions: of each map; all maps take turns.

    Raises:
        UserError: fewer than two sides, or one below 1; see `create_attention`.
    """
    for name, own in sides.items():
        if len(set(own)) < 2 or min(own) < 1:
            raise UserError(f"sides {list(own)} of '{name}': a power needs two different ones, each at least 1")
    with conditions.seeded():
        steps = [_forward(name, channels, side, conditions.where) for name, own in sides.items() for side in own]
    timings = measure_together(steps, conditions)
    measured = iter([(timing.median_ms, count_floats(step)) for timing, step in zip(timings, steps, strict=True)])
    found = []
    for name, own in sides.items():
        tokens = tuple(side * side for side in own)
        times, floats = zip(*(next(measured) for _ in own), strict=True)
        found.append(Growth(name, channels, tokens, times, floats, fit_power(tokens, times), fit_power(tokens, floats)))
    return found


def _forward(name: str, channels: int, side: int, device: torch.device) -> Callable[[], Tensor]:
    with torch.device(device):
        attention, x = create_attention(name, channels).eval(), torch.randn(1, channels, side, side)

    @torch.no_grad()
    def step() -> Tensor:
        return attention(x)

    return step
