"""CA, cross-resolution attention (RTFormer, https://arxiv.org/abs/2210.07124).

Every position of the high-resolution branch looks at the low-resolution branch, pooled to cross_size x cross_size
tokens:

    [K, V] = W max_pool(BN(context));    y = softmax(scale x K^T) V

The reference writes it as a grouped convolution with computed weights. That fixes the batch size and does not export.
Here it is two matrix products, which give the same numbers.

B batch, C channels, D context channels, P positions of the high branch, T = cross_size^2 tokens.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import attention_weights, pick, to_map, to_tokens
from rtseg.checks import check_between, check_one_of
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size
from rtseg.layers.pooling import adaptive_max_pool2d


@register_attention("ca", needs_context=True, from_network=("cross_size",))
class CrossResolutionAttention(Attention):
    """x (B, C, H, W), context (B, D, h, w) -> (B, C, H, W).

    It has one head. The queries are x itself, and the output is not mapped.

    Args:
        cross_size: side of the grid that the context is max-pooled to.
        scale: "tokens", 1/sqrt(T), with which the released weights were trained, or "dim", 1/sqrt(C), the paper's.
            Weights of one are wrong with the other, unless T = C.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        context_channels: int | None = None,
        cross_size: int = 8,
        scale: str = "tokens",
        **shape: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, context_channels=context_channels, **shape)
        check_between("cross_size", cross_size, 1, 256)
        check_one_of("scale", scale, ("tokens", "dim"))
        if not self.keeps_shape:
            raise UserError("it keeps width and resolution, because its queries are the feature map itself")
        if context_channels is None:
            raise UserError("it reads another feature map: pass its channels as context_channels")
        self.cross_size = cross_size
        self.norm = nn.BatchNorm2d(context_channels)
        self.keys_values = nn.Conv2d(context_channels, 2 * in_channels, 1, bias=False)
        self.scale = 1 / cross_size if scale == "tokens" else in_channels**-0.5
        nn.init.trunc_normal_(self.keys_values.weight, std=0.02, a=-0.04, b=0.04)

    def _tokens(self, context: Tensor | None) -> Tensor:
        """(B, 2 C, k, k): keys, then values."""
        if context is None:
            raise UserError(f"attention '{self.name}' reads another feature map: call it as attention(x, context)")
        return self.keys_values(adaptive_max_pool2d(self.norm(context), (self.cross_size, self.cross_size)))

    def _keys_values(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Each (B, 1, T, C): one head, and channels contiguous, as the fused kernel wants them."""
        keys, values = to_tokens(self._tokens(context)).unsqueeze(1).chunk(2, -1)
        return keys.contiguous(), values.contiguous()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if torch.compiler.is_exporting():
            return self._exported(x, context)
        keys, values = self._keys_values(context)
        queries = to_tokens(x).unsqueeze(1).contiguous()  # free where x is channels_last
        y = F.scaled_dot_product_attention(queries, keys, values, scale=self.scale)
        return to_map(y.squeeze(1), spatial_size(x))

    def _exported(self, x: Tensor, context: Tensor | None) -> Tensor:
        """`forward` with the positions of a channel side by side, as engines keep maps: they need not turn x, nor
        scale it, as they would for the fused kernel.
        """
        keys, values = self._tokens(context).flatten(2).chunk(2, 1)
        scores = (self.scale * keys).mT @ x.flatten(2)
        return (values @ scores.softmax(1)).unflatten(2, spatial_size(x))

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        """The context's size does not matter: it is pooled first."""
        context_channels = self.keys_values.in_channels
        projection, tokens = 2 * context_channels * self.in_channels, self.cross_size**2
        return Cost(
            parameters=projection + 2 * context_channels,
            macs=tokens * projection + 2 * height * width * tokens * self.in_channels,
        )

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, 1, P, T): the cells of the pooled context; rows sum to 1."""
        keys, _ = self._keys_values(context)
        weights = attention_weights(pick(to_tokens(x), at).unsqueeze(1), keys, self.scale)
        return AttentionMap(weights, (self.cross_size, self.cross_size))
