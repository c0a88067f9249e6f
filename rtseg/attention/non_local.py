"""NL, conventional (non-local) attention: the quadratic twin of `fa`, and the first paper's baseline (its "CA"; Shen et
al., https://arxiv.org/abs/1812.01243, after Wang et al., "Non-local Neural Networks", https://arxiv.org/abs/1711.07971).

    dot     y = (C B^T / b) V
    gauss   y = softmax_keys(C B^T) V

The letters are those of `factorized.py`: C asks, B and V are the keys and values. Scores are not scaled before the
softmax, as the paper writes it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.attention.base import AttentionMap
from rtseg.attention.factorized import ProjectedAttention
from rtseg.attention.memory import check_maps_fit
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import pick


@register_attention("nl", low={"heads": 8}, high={"heads": 2})
class NonLocalAttention(ProjectedAttention):
    """Cost quadratic in the number of tokens. Options and parameters are those of `fa`, see `ProjectedAttention`."""

    def _attend(self, coefficients: Tensor, basis: Tensor, values: Tensor) -> Tensor:
        check_maps_fit(self, coefficients, self._bytes_of_pair(coefficients))
        if self.kind == "dot":
            # The transposed map, (B, h, keys, queries): the product then comes out channels first.
            weights = (basis.transpose(2, 3) @ coefficients).div_(self._divisor(coefficients))
            return values @ weights
        # The fused kernel wants channels to be the contiguous axis.
        queries, keys, values = (t.transpose(2, 3).contiguous() for t in (coefficients, basis, values))
        return F.scaled_dot_product_attention(queries, keys, values, scale=1.0).transpose(2, 3)

    def _bytes_of_pair(self, queries: Tensor) -> int:
        """Bytes that two positions of a head need at once. A training adds a map, the gradient of one.

        kind=gauss: none in a fused kernel, else the scores and their softmax, in float32 at least, and for a moment a
        mask of bytes, which is gone when there is a gradient. On a CPU the kernel takes keys as wide as values alone;
        elsewhere PyTorch has more kernels, and an error of its own for want of memory.
        """
        _, b, m, _, _ = self.widths
        training = queries.requires_grad
        if self.kind == "dot":
            return (1 + training) * queries.dtype.itemsize
        if b == m or queries.device.type != "cpu":
            return 0
        own = torch.promote_types(queries.dtype, torch.float32).itemsize
        return 3 * own if training else 2 * own + 1

    def _between_positions(self, tokens: int) -> tuple[int, int]:
        """The map counts once, as the paper has it, although the fused kernel of kind=gauss does not store it."""
        _, b, m, _, _ = self.widths
        return (b + m) * tokens**2, self.heads * tokens**2

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """Keys are the positions of the output."""
        basis = self.basis(x)
        queries, keys = self._split(self.coefficients(x)), self._split(basis)
        scores = pick(queries.transpose(2, 3), at) @ keys
        weights = scores / self._divisor(queries) if self.kind == "dot" else scores.softmax(3)
        return AttentionMap(weights, (basis.shape[2], basis.shape[3]))
