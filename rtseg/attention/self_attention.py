"""SA, multi-head self-attention with spatial reduction (SegFormer, https://arxiv.org/abs/2105.15203; heads and
reduction per branch as in RTFormer's appendix B.1).

B batch, C channels in, D channels out, h heads, N query tokens, M key tokens.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, check_divides, check_positive, register_attention


def _tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H * W, C)."""
    return x.flatten(2).transpose(1, 2)


@register_attention("sa", low={"heads": 8, "reduction": 1}, high={"heads": 2, "reduction": 4})
class SelfAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)).

    Args:
        heads: must divide `out_channels`.
        reduction: keys and values come from a map smaller by this factor on each side.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        stride: int = 1,
        context_channels: int | None = None,
        heads: int = 8,
        reduction: int = 1,
    ) -> None:
        super().__init__()
        out_channels = out_channels or in_channels
        check_divides("sa", "heads", heads, out_channels)
        check_positive("sa", "reduction", reduction)
        self.heads = heads
        self.stride = stride
        self.step = reduction * stride
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

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        strided = x[:, :, :: self.stride, :: self.stride]
        if self.reduce is None:
            source = _tokens(strided)
        else:
            # A strided convolution would drop the rows and columns that do not fill a cell, and fail on a map smaller
            # than one.
            padded = F.pad(x, (0, -x.shape[3] % self.step, 0, -x.shape[2] % self.step))
            source = self.reduce_norm(_tokens(self.reduce(padded)))

        # (B, N, D) -> (B, h, N, D / h), the last axis contiguous as the fused kernel wants it.
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        keys, values = self.keys_values(source).chunk(2, -1)
        y = F.scaled_dot_product_attention(split(self.queries(_tokens(strided))), split(keys), split(values))
        y = self.project(y.transpose(1, 2).flatten(2))
        return y.transpose(1, 2).unflatten(2, strided.shape[-2:])
