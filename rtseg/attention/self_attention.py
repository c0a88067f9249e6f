"""SA, multi-head self-attention with spatial reduction (SegFormer, https://arxiv.org/abs/2105.15203; heads and
reduction per branch as in RTFormer's appendix B.1).

    z = LN(conv(x)), or x without reduction;    [K, V] = W_kv z
    y_head = softmax((W_q x)_head K_head^T / sqrt(D / h)) V_head;    out = W_o y

All linear maps have a bias. The convolution's kernel and stride are `reduction`, so z is a map smaller by that factor
on each side.

B batch, C channels in, D channels out, h heads, N query tokens, M key tokens.
"""

import math
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost, Drawing, reduced_size
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import attention_weights, join_heads, pick, split_heads, to_map, to_tokens
from rtseg.checks import check_between, check_divides
from rtseg.layers.conv import spatial_size


@register_attention("sa", low={"heads": 8, "reduction": 1}, high={"heads": 2, "reduction": 4})
class SelfAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)).

    Args:
        heads: must divide `out_channels`.
        reduction: keys and values come from a map smaller by this factor on each side.
    """

    def __init__(
        self, in_channels: int, out_channels: int | None = None, *, heads: int = 8, reduction: int = 1, **shape: Any
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        out_channels = self.out_channels
        check_divides("heads", heads, out_channels)
        check_between("reduction", reduction, 1, 32)
        self.heads = heads
        self.step = reduction * self.stride
        self.queries = nn.Linear(in_channels, out_channels)
        self.keys_values = nn.Linear(in_channels, 2 * out_channels)
        self.project = nn.Linear(out_channels, out_channels)
        for linear in (self.queries, self.keys_values, self.project):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        self.reduce: nn.Conv2d | None = None
        if reduction > 1:
            self.reduce = nn.Conv2d(in_channels, in_channels, self.step, self.step)
            self.reduce_norm = nn.LayerNorm(in_channels)
            nn.init.normal_(self.reduce.weight, std=math.sqrt(2 / (self.step**2 * in_channels)))
            nn.init.zeros_(self.reduce.bias)  # type: ignore[arg-type]

    def _queries_keys_values(self, x: Tensor, strided: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, h, N, D / h) and twice (B, h, M, D / h)."""
        if self.reduce is None:
            source = to_tokens(strided)
        else:
            # A strided convolution would drop the rows and columns that do not fill a cell, and fail on a map smaller
            # than one.
            padded = F.pad(x, (0, -x.shape[3] % self.step, 0, -x.shape[2] % self.step))
            source = self.reduce_norm(to_tokens(self.reduce(padded)))
        keys, values = self.keys_values(source).chunk(2, -1)
        queries = self.queries(to_tokens(strided))
        return split_heads(queries, self.heads), split_heads(keys, self.heads), split_heads(values, self.heads)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        strided = self.strided(x)
        y = F.scaled_dot_product_attention(*self._queries_keys_values(x, strided))
        return to_map(self.project(join_heads(y)), spatial_size(strided))

    def start_at_zero(self) -> None:
        """See `Attention`."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        c, d, n = self.in_channels, self.out_channels, self.positions(height, width)
        m = math.prod(reduced_size(height, width, self.step))
        parameters = 3 * (c * d + d) + d * d + d
        macs = n * (c * d + d * d) + 2 * m * c * d + 2 * n * m * d
        if self.reduce is not None:
            kernel = self.step**2 * c * c
            parameters, macs = parameters + kernel + 3 * c, macs + m * kernel
        return Cost(parameters, macs)

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, h, N, M); rows sum to 1. The keys are the places of the reduced map."""
        queries, keys, _ = self._queries_keys_values(x, self.strided(x))
        return AttentionMap(attention_weights(pick(queries, at), keys), reduced_size(*spatial_size(x), self.step))

    def drawing(self, x: Tensor, context: Tensor | None = None, *, position: tuple[int, int]) -> Drawing:
        """The last cells of a reduced map reach beyond the input, so each is drawn as the places that it has there."""
        drawing = super().drawing(x, context, position=position)
        if self.reduce is None:
            return drawing
        height, width = spatial_size(x)
        places = drawing.maps.repeat_interleave(self.step, 2).repeat_interleave(self.step, 3)
        return drawing._replace(maps=places[:, :, :height, :width])
