"""GFA, GPU-friendly attention (RTFormer, https://arxiv.org/abs/2210.07124).

    y = V DN(K x)

K (M, C) and V (D, M) are parameters with M = D slots, so the cost is linear in the number of tokens. Channels are not
split into heads, which would cost many small products. The normalisation alone splits the slots, into g groups, and
both products stay whole 1x1 convolutions. The double normalisation DN of scores A (M, N) is a softmax over
the N tokens, then a division by the sum over the M / g slots of a group:

    plain   P / (sum_slots P + 1e-6),  P = softmax_tokens(A)            what the released weights were trained with
    log     softmax_slots(A - logsumexp_tokens(A))                      the same without the 1e-6

P is about 1 / N, so on large maps the 1e-6 counts: at 32768 tokens the weights of a position may sum to well below 1.

B batch, C channels in, D channels out, N tokens.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost, Drawing
from rtseg.attention.products import rows_to_map, to_rows
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import pick
from rtseg.checks import check_divides, check_one_of
from rtseg.layers.conv import spatial_size


def double_normalize(scores: Tensor, norm: str = "plain", *, tokens: int, slots: int) -> Tensor:
    """DN of scores; axis `tokens` counts the N tokens, axis `slots` the slots of a group.

    At least float32, also under autocast: it divides numbers of about 1/N. Quick where one of the axes is the last in
    memory, quickest where `tokens` is.
    """
    kind = torch.promote_types(scores.dtype, torch.float32)
    if norm == "log":
        scores = scores.to(kind)
        return (scores - scores.logsumexp(tokens, keepdim=True)).softmax(slots)
    weights = scores.softmax(tokens, dtype=kind)
    return weights / (weights.sum(slots, keepdim=True) + 1e-6)


@register_attention("gfa", low={"groups": 8}, high={"groups": 2})
class GPUFriendlyAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)); no 1/sqrt(d).

    Args:
        groups: into how many groups the slots are split; must divide `out_channels`.
        norm: "plain" or "log", see above.
    """

    def __init__(
        self, in_channels: int, out_channels: int | None = None, *, groups: int = 8, norm: str = "plain", **shape: Any
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        check_divides("groups", groups, self.out_channels)
        check_one_of("norm", norm, ("plain", "log"))
        self.groups = groups
        self.norm = norm
        self.keys = nn.Conv2d(in_channels, self.out_channels, 1, self.stride, bias=False)
        self.values = nn.Conv2d(self.out_channels, self.out_channels, 1, bias=False)
        nn.init.normal_(self.keys.weight, std=1e-3)
        nn.init.normal_(self.values.weight, std=1e-3)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        if self.training and not x.is_contiguous():  # channels_last both ways: the quickest backward pass
            scores = self.keys(x).permute(0, 2, 3, 1)
            grouped = scores.flatten(1, 2).unflatten(2, (self.groups, -1))
            weights = double_normalize(grouped, self.norm, tokens=1, slots=3).reshape(scores.shape)
            return self.values(weights.permute(0, 3, 1, 2).to(scores.dtype))
        scores = to_rows(self.keys, x)
        weights = double_normalize(scores.unflatten(1, (self.groups, -1)), self.norm, tokens=3, slots=2)
        size = spatial_size(self.strided(x))
        return rows_to_map(self.values, weights.flatten(1, 2).to(scores.dtype), size, like=x)

    def start_at_zero(self) -> None:
        """See `Attention`."""
        nn.init.zeros_(self.values.weight)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        parameters = self.keys.weight.numel() + self.values.weight.numel()
        return Cost(parameters, self.positions(height, width) * parameters)

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, g, N, M / g): the slots of each group; rows sum to 1, but for the 1e-6."""
        scores = self.keys(x).flatten(2).unflatten(1, (self.groups, -1))
        weights = double_normalize(scores, self.norm, tokens=3, slots=2).transpose(2, 3)
        return AttentionMap(pick(weights, at), None)

    def drawing(self, x: Tensor, context: Tensor | None = None, *, position: tuple[int, int]) -> Drawing:
        return super().drawing(x, context, position=position)._replace(head="group")

    def absorb_scale(self, scale: Tensor) -> bool:
        """Into K. What the norm adds changes all scores of a slot by one number, which the softmax over the tokens
        cancels.
        """
        weight = self.keys.weight.detach()
        scaled = weight.cpu().double() * scale[None, :, None, None]
        self.keys.weight = nn.Parameter(scaled.to(weight.device, weight.dtype), requires_grad=False)
        return True
