"""The interface of an attention.

An attention maps a feature map to a feature map: (B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)). The block
around it adds the norm before it, the residual connection and the drop path. So two rows of an ablation differ in the
attention alone.

B batch, C channels in, D channels out, N = H * W positions.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size


@dataclass(frozen=True)
class Cost:
    """Parameters and compute of an attention, from its closed form.

    Attributes:
        parameters: numbers that are learnt.
        macs: multiply-adds for one image: a profiler's FLOPs / 2. Pooling, norms and softmax do not count.
        activation_floats: numbers that the forward pass of one image writes, for mechanisms whose paper counts them.
    """

    parameters: int
    macs: int
    activation_floats: int | None = None


class AttentionMap(NamedTuple):
    """Which position takes how much from which key.

    Attributes:
        weights: (B, heads, N, M): how much each of N positions of the output takes from each of M keys.
        key_size: (h, w) where the keys are places of a map, M = h * w; None where they are slots of a memory.
    """

    weights: Tensor
    key_size: tuple[int, int] | None


class Drawing(NamedTuple):
    """The weights of one image as maps to draw.

    Attributes:
        maps: (heads, parts, h, w); the h x w cells divide the attention's input evenly.
        kind: what each map belongs to: "heads", "memory slots", "basis masks".
        head: what the first axis counts: "head" or "group".
        part: what the second axis counts: "slot" or "mask"; empty where it has one entry.
        of_position: whether the maps show what one position looks at; otherwise they show all positions at once.
    """

    maps: Tensor
    kind: str
    head: str
    part: str
    of_position: bool


class Attention(nn.Module):
    """Base of every mechanism.

    A mechanism needs `forward`. It may have a constructor with options, `cost` (without it, tables show a dash) and
    `attention_map` (without it, `rtseg visualize` leaves it out and says so). Its constructor is

        def __init__(self, in_channels: int, out_channels: int | None = None, *, heads: int = 8, **shape: Any) -> None:
            super().__init__(in_channels, out_channels, **shape)

    where `shape` stands for `stride` and `context_channels`. Its own keyword-only parameters are the options that a
    user can write after the name; each has a type (int, float, str or bool) and a default. The checks of
    `rtseg.checks` need the option's name alone: `create_attention` says which attention it is.

    Args:
        in_channels: C.
        out_channels: D; C where it is not given.
        stride: the output has every stride-th row and column of the input.
        context_channels: channels of the other branch's map, for mechanisms that read it.

    Attributes:
        name: the name that the mechanism is registered under.
        place: of a network, where it is inserted at one; messages say it.
    """

    name: ClassVar[str]
    place: str = ""

    def __init__(
        self, in_channels: int, out_channels: int | None = None, *, stride: int = 1, context_channels: int | None = None
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels or in_channels
        self.stride = stride
        self.context_channels = context_channels

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W); context: the low-resolution map (B, context_channels, h, w), for mechanisms that need it."""
        raise NotImplementedError

    def __call__(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """`forward`. Raises: UserError where a map has other channels than the attention was built for.

        A graph that is compiled, exported or traced has no such check in it.
        """
        if not torch.compiler.is_compiling() and not torch.jit.is_tracing():
            self._check_channels("input", x, self.in_channels)
            self._check_channels("context", context, self.context_channels)
        y: Tensor = super().__call__(x, context)
        return y

    def _check_channels(self, what: str, given: Tensor | None, channels: int | None) -> None:
        if channels is None or not isinstance(given, Tensor) or (given.ndim > 1 and given.shape[1] == channels):
            return
        at = f" at {self.place}" if self.place else ""
        raise UserError(
            f"attention '{self.name}'{at} was built for {channels} channels, and its {what} has the shape "
            f"{tuple(given.shape)}: give (B, {channels}, H, W), or build it for the channels of that map"
        )

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        """For one image whose input map is (height, width) and whose context map, if read, is `context_size`."""
        raise NotImplementedError

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """The weights behind `forward(x, context)`, for drawing and tests, not for speed.

        Args:
            at: a position of the output, in raster order. Only its row is made, N = 1, so that the memory is linear in
                the number of positions.
        """
        raise NotImplementedError

    def drawing(self, x: Tensor, context: Tensor | None = None, *, position: tuple[int, int]) -> Drawing:
        """The maps to draw for the first image of a batch.

        Args:
            position: (row, column) of the output whose view is drawn where the keys are places.
        """
        size = self.output_size(*spatial_size(x))
        # One row at first: all rows of places would be N x N, and only the map itself says what its keys are.
        weights, key_size = self.attention_map(x, context, at=position[0] * size[1] + position[1])
        if key_size is not None:
            return Drawing(weights[0].unflatten(2, key_size), "heads", "head", "", of_position=True)
        slots = self.attention_map(x, context).weights[0].transpose(1, 2).unflatten(2, size)
        return Drawing(slots, "memory slots", "head", "slot", of_position=False)

    def absorb_scale(self, scale: Tensor) -> bool:
        """Takes a BatchNorm before the attention into its weights, for evaluation, where that is exact.

        A mechanism that can ignores what the norm adds (equal at all positions) and multiplies its weights by `scale`.

        Args:
            scale: (C,), what the norm multiplies each channel by; float64 on the CPU.

        Returns:
            Whether it did. False: nothing has changed, and the norm must stay.
        """
        return False

    def start_at_zero(self) -> None:
        """Sets the weights of its last map to zero, so that it gives zeros until it has learnt something.

        Raises:
            UserError: it does not know how.
        """
        raise UserError(
            f"attention '{self.name}' cannot be inserted: give {type(self).__name__} a method `start_at_zero` that "
            "sets the weights of its last map to zero"
        )

    @property
    def has_cost(self) -> bool:
        """Whether the mechanism knows its cost."""
        return type(self).cost is not Attention.cost

    @property
    def has_map(self) -> bool:
        """Whether the mechanism can show its weights."""
        return type(self).attention_map is not Attention.attention_map

    @property
    def keeps_shape(self) -> bool:
        """Whether the output is as wide and as large as the input."""
        return self.stride == 1 and self.out_channels == self.in_channels

    def strided(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)), a view: the positions of the output."""
        return x[:, :, :: self.stride, :: self.stride]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output for an input of this size."""
        return reduced_size(height, width, self.stride)

    def positions(self, height: int, width: int) -> int:
        """N, the number of positions of the output for an input of this size."""
        rows, columns = self.output_size(height, width)
        return rows * columns


def reduced_size(height: int, width: int, step: int) -> tuple[int, int]:
    """(height, width) of a map that has one row and column for `step` of them, rounded up."""
    return -(-height // step), -(-width // step)
