"""EA, multi-head external attention (Guo et al., https://arxiv.org/abs/2105.02358), as RTFormer compares with it
(appendix of https://arxiv.org/abs/2210.07124): without maps before and behind, with gfa's double normalisation.

    y_head = V DN(K x_head)

K (M, C / h) and V (D / h, M) are parameters, M slots of them that all heads share. It equals gfa with h groups whose
matrices are block-diagonal with h equal blocks; its attention map has h times as many entries as that of a gfa with M
slots.

B batch, C channels in, D channels out, h heads, M = ratio * D slots, N tokens.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.gpu_friendly import double_normalize
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import pick, to_map, to_tokens
from rtseg.checks import check_divides
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size


@register_attention("ea", low={"heads": 8}, high={"heads": 2})
class ExternalAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)); no 1/sqrt(d).

    Args:
        ratio: slots of the memory as a share of `out_channels`, rounded down.
        heads: must divide `in_channels` and `out_channels`.
    """

    def __init__(
        self, in_channels: int, out_channels: int | None = None, *, ratio: float = 0.25, heads: int = 8, **shape: Any
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        out_channels = self.out_channels
        check_divides("heads", heads, in_channels)
        check_divides("heads", heads, out_channels)
        if not (ratio * out_channels >= 1 and ratio <= 16):
            least = f"1/{out_channels}, which is one slot"
            raise UserError(f"ratio={ratio} of {out_channels} channels must be from {least}, to 16")
        self.heads = heads
        slots = int(ratio * out_channels)
        self.keys = nn.Parameter(torch.empty(slots, in_channels // heads))
        self.values = nn.Parameter(torch.empty(out_channels // heads, slots))
        nn.init.normal_(self.keys, std=1e-3)
        nn.init.normal_(self.values, std=1e-3)

    def _weights(self, strided: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, h, M). Slots come last: the quickest layout for channels_last maps on a CPU."""
        # Without the copy, which channels_last does not need, the linear map would be one small product a token.
        tokens = to_tokens(strided).contiguous()
        scores = F.linear(tokens.unflatten(2, (self.heads, -1)), self.keys)
        return double_normalize(scores, tokens=1, slots=3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        strided = self.strided(x)
        y = F.linear(self._weights(strided).to(x.dtype), self.values)
        return to_map(y.flatten(2), spatial_size(strided))

    def start_at_zero(self) -> None:
        """See `Attention`."""
        nn.init.zeros_(self.values)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        parameters = self.keys.numel() + self.values.numel()
        return Cost(parameters, self.heads * self.positions(height, width) * parameters)

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, h, N, M): the slots of the memory; rows sum to 1, but for the 1e-6 of the normalisation."""
        weights = self._weights(self.strided(x)).transpose(1, 2)
        return AttentionMap(pick(weights, at), None)
