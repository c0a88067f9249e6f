"""GFA, GPU-friendly attention (RTFormer, https://arxiv.org/abs/2210.07124).

Keys and values are parameters, M slots of them, so the cost is linear in the number of tokens. Instead of splitting
channels into heads, which costs many small products, the slots are split into groups in the second normalisation alone:
both products stay whole 1x1 convolutions.

B batch, C channels in, D channels out, M slots (= D), N tokens.
"""

import torch
from torch import Tensor, nn

from rtseg.attention.base import Attention, check_divides, register_attention


@register_attention("gfa", low={"groups": 8}, high={"groups": 2})
class GPUFriendlyAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)); grouped double normalisation, no 1/sqrt(d).

    Args:
        groups: into how many groups the slots are split; must divide `out_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        stride: int = 1,
        context_channels: int | None = None,
        groups: int = 8,
    ) -> None:
        super().__init__()
        out_channels = out_channels or in_channels
        check_divides("gfa", "groups", groups, out_channels)
        self.groups = groups
        self.keys = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
        self.values = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        nn.init.normal_(self.keys.weight, std=1e-3)
        nn.init.normal_(self.values.weight, std=1e-3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        scores = self.keys(x)
        # At least float32, also under autocast: the weights are about 1/N, and their group sums are divided by.
        weights = scores.flatten(2).softmax(-1, dtype=torch.promote_types(scores.dtype, torch.float32))
        weights = weights.unflatten(1, (self.groups, -1))
        weights = weights / (weights.sum(2, keepdim=True) + 1e-6)
        return self.values(weights.view(scores.shape).to(scores.dtype))
