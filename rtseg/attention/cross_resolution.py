"""CA, cross-resolution attention (RTFormer, https://arxiv.org/abs/2210.07124).

Every position of the high-resolution branch looks at the low-resolution branch, pooled to cross_size x cross_size
tokens. The reference writes it as a grouped convolution with computed weights, which bakes the batch size in and does
not export; here it is two matrix products, with the same numbers.

B batch, C channels, D context channels, P positions of the high branch, T = cross_size^2 tokens.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, check_positive, register_attention
from rtseg.errors import UserError


@register_attention("ca", needs_context=True)
class CrossResolutionAttention(Attention):
    """x (B, C, H, W), context (B, D, h, w) -> (B, C, H, W). One head; the queries are x itself, and there is no output
    map.

    Args:
        cross_size: side of the grid that the context is max-pooled to.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        stride: int = 1,
        context_channels: int | None = None,
        cross_size: int = 8,
    ) -> None:
        super().__init__()
        check_positive("ca", "cross_size", cross_size)
        if stride != 1 or (out_channels or in_channels) != in_channels:
            raise UserError("attention 'ca' keeps width and resolution: its queries are the feature map itself")
        if context_channels is None:
            raise UserError("attention 'ca' reads another feature map: pass its channels as context_channels")
        self.norm = nn.BatchNorm2d(context_channels)
        self.pool = nn.AdaptiveMaxPool2d(cross_size)
        self.keys_values = nn.Conv2d(context_channels, 2 * in_channels, 1, bias=False)
        # The released weights were trained with 1/sqrt(tokens), not the paper's 1/sqrt(channels).
        self.scale = 1 / cross_size
        nn.init.trunc_normal_(self.keys_values.weight, std=0.02, a=-0.04, b=0.04)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if context is None:
            raise UserError("attention 'ca' reads another feature map: call it as attention(x, context)")
        tokens = self.keys_values(self.pool(self.norm(context))).flatten(2).transpose(1, 2)
        # One head, as (B, 1, tokens, C). The fused kernel wants channels to be the contiguous axis: free for queries
        # that are channels_last.
        queries = x.flatten(2).transpose(1, 2).unsqueeze(1).contiguous()
        keys, values = (t.unsqueeze(1).contiguous() for t in tokens.chunk(2, -1))
        y = F.scaled_dot_product_attention(queries, keys, values, scale=self.scale)
        return y.squeeze(1).transpose(1, 2).unflatten(2, x.shape[-2:])
