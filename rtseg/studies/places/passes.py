"""One attention on maps of several sizes: a forward pass as a step, what it writes, and its peak of memory.

N positions of a map.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple, Self

import torch
from torch import Tensor

from rtseg.attention.base import reduced_size
from rtseg.attention.insertion import Inserted
from rtseg.layers.feature_info import FeatureInfo
from rtseg.speed.growth import count_floats
from rtseg.speed.memory import allocated_beyond, measured_apart, peak_beyond

Size = tuple[int, int]

_COUNTED: tuple[Size, Size, Size] = ((8, 8), (8, 16), (16, 16))  # small, and N doubles
_ENOUGH = 4096  # positions from which on a pass takes longer than its calls


class Written(NamedTuple):
    """Numbers that a forward pass writes: constant + linear * N + quadratic * N^2, all counted while it runs."""

    constant: float
    linear: float
    quadratic: float

    @classmethod
    def counted(cls, forward: Callable[[Tensor], Tensor], channels: int, device: torch.device) -> Self:
        """The numbers of an attention on maps of `channels`; exact where they are such a polynomial."""
        maps = [torch.zeros(1, channels, *size, device=device) for size in _COUNTED]
        first, second, third = (count_floats(partial(forward, x)) for x in maps)
        a, b, c = (height * width for height, width in _COUNTED)
        slopes = (second - first) / (b - a), (third - second) / (c - b)
        quadratic = max(0.0, (slopes[1] - slopes[0]) / (c - a))
        linear = slopes[0] - quadratic * (a + b)
        return cls(first - linear * a - quadratic * a**2, linear, quadratic)

    def floats(self, positions: int) -> int:
        """For a map of N positions."""
        return round(self.constant + self.linear * positions + self.quadratic * positions**2)


class Passes:
    """An attention, as it is inserted at one place of a network.

    Args:
        name: of the place.
        size: (height, width) of the image.
        attention: choice for one branch, such as "fa:basis=64:heads=1".

    Attributes:
        map_size: of the place's map.
        growing: sizes of the map while the image's sides double; the largest has some thousand positions at least.

    Raises:
        UserError: see `Inserted`.
    """

    def __init__(self, name: str, info: FeatureInfo, size: Size, attention: str, device: torch.device) -> None:
        self.name, self.info, self.attention, self.device = name, info, attention, device
        self.layer = Inserted([attention], info.channels, name).eval().to(device)
        self.map_size = reduced_size(*size, info.stride)
        top = self.map_size
        while top[0] * top[1] < _ENOUGH:
            top = (2 * top[0], 2 * top[1])
        self.growing = tuple(sorted({reduced_size(*top, step) for step in (4, 2, 1)}))

    @property
    def sizes(self) -> tuple[Size, ...]:
        """All that are measured."""
        return tuple(sorted({*self.growing, self.map_size}))

    @cached_property
    def written(self) -> Written:
        """What a forward pass writes, by the number of positions."""
        return Written.counted(self.layer, self.info.channels, self.device)

    def step(self, size: Size) -> Callable[[], Tensor]:
        """A forward pass of one map, for a timing."""
        x = torch.randn(1, self.info.channels, *size, device=self.device)

        @torch.inference_mode()
        def forward() -> Tensor:
            return self.layer(x)

        return forward


def peaks(calls: Sequence[tuple[Passes, Size]], device: torch.device) -> list[int | None]:
    """Peak bytes of one forward pass each, weights and input left out; None where the system does not tell."""
    if device.type == "cuda":
        return [allocated_beyond(passes.step(size), device) for passes, size in calls]
    if device.type != "cpu":
        return [None] * len(calls)
    threads = torch.get_num_threads()
    sent = [(passes.attention, passes.info.channels, size, threads) for passes, size in calls]
    return measured_apart(_peak, sent)


def _peak(attention: str, channels: int, size: Size, threads: int) -> int:
    """Peak bytes of one forward pass of a map (height, width), for `measured_apart`."""
    torch.set_num_threads(threads)
    passes = Passes("", FeatureInfo(channels, 1), (1, 1), attention, torch.device("cpu"))
    forward = passes.step(size)
    forward()  # what the first call alone needs
    return peak_beyond(forward)
