"""LA, Linformer (Wang et al., https://arxiv.org/abs/2006.04768), for maps of any size.

    Q, K, V = W_q x, W_k x, W_v x;    P averages the map over the cells of a grid x grid
    y_head = softmax(Q_head (E P K)_head^T / sqrt(D / h)) (F P V)_head;    out = W_o y

E and F (k, grid^2) mix places, with the same weights in all heads. Linformer learns them for one length of sequence. If
`grid` is the side of the map, P is the identity and this is the paper's attention. At other sizes, P makes E mean the
same places. Where the grid divides the map, E P is E resized to the map (nearest) and divided by the places per cell.

B batch, C channels in, D channels out, h heads, N tokens. Only W_o has a bias.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import attention_weights, join_heads, pick, split_heads, to_map, to_tokens
from rtseg.checks import check_between, check_divides
from rtseg.layers.conv import spatial_size
from rtseg.layers.pooling import adaptive_avg_pool2d


@register_attention("la", low={"heads": 8}, high={"heads": 2})
class LinformerAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)).

    Args:
        k: mixtures of places that serve as keys.
        grid: side of the grid of places that are mixed; a map may be smaller.
        heads: must divide `out_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        k: int = 256,
        grid: int = 16,
        heads: int = 8,
        **shape: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        out_channels = self.out_channels
        check_between("k", k, 1, 1024)
        check_between("grid", grid, 1, 256)
        check_divides("heads", heads, out_channels)
        self.heads = heads
        self.grid = grid
        self.qkv = nn.Linear(in_channels, 3 * out_channels, bias=False)
        self.project = nn.Linear(out_channels, out_channels)
        nn.init.trunc_normal_(self.qkv.weight, std=0.02)
        nn.init.trunc_normal_(self.project.weight, std=0.02)
        nn.init.zeros_(self.project.bias)
        self.mix_keys = nn.Parameter(torch.empty(k, grid**2))
        self.mix_values = nn.Parameter(torch.empty(k, grid**2))
        # 1 / sqrt(k) is customary; where many more places than k are summed, it would make the keys large.
        bound = max(k, grid**2) ** -0.5
        for mix in (self.mix_keys, self.mix_values):
            nn.init.uniform_(mix, -bound, bound)

    def _queries_keys_values(self, strided: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, h, N, D / h), (B, h, k, D / h), and the values before they are mixed, (B, grid^2, D)."""
        d = self.out_channels
        # Pooling x instead would be cheaper and give the same, but it would not be Linformer's cost that is measured.
        queries, keys_values = self.qkv(to_tokens(strided)).split([d, 2 * d], -1)
        pooled = adaptive_avg_pool2d(to_map(keys_values, spatial_size(strided)), (self.grid, self.grid))
        keys, values = to_tokens(pooled).chunk(2, -1)
        return split_heads(queries, self.heads), split_heads(self.mix_keys @ keys, self.heads), values

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        strided = self.strided(x)
        queries, keys, values = self._queries_keys_values(strided)
        y = F.scaled_dot_product_attention(queries, keys, split_heads(self.mix_values @ values, self.heads))
        return to_map(self.project(join_heads(y)), spatial_size(strided))

    def start_at_zero(self) -> None:
        """See `Attention`."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        c, d, n = self.in_channels, self.out_channels, self.positions(height, width)
        k, places = self.mix_keys.shape
        return Cost(
            parameters=3 * c * d + d * d + d + 2 * k * places,
            macs=n * (3 * c * d + d * d) + 2 * k * places * d + 2 * n * k * d,
        )

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, h, N, grid^2): how much is taken of each cell's value, softmax(.) F. Since F has negative entries, so can
        these rows, and they need not sum to 1."""
        queries, keys, _ = self._queries_keys_values(self.strided(x))
        return AttentionMap(attention_weights(pick(queries, at), keys) @ self.mix_values, (self.grid, self.grid))
