"""NA, Nystroemformer's attention (Xiong et al., https://arxiv.org/abs/2102.03902), with landmarks on a map.

    Q, K, V = W_q x, W_k x, W_v x;    Q~, K~ (m, D): averages of Q and K over m parts of the map
    y_head = softmax(Q K~^T) Z softmax(Q~ K^T) V,  Z the pseudo-inverse of A = softmax(Q~ K~^T);    out = W_o y

each per head, with queries scaled by 1 / sqrt(D / h). It is computed as softmax(Q K~^T) (Z (softmax(Q~ K^T) V)). In
this order the fused kernel computes both softmaxes, and no (N, m) map is stored. A map of at most m tokens needs no
approximation and gets softmax(Q K^T) V.

Z comes from six Newton-Schulz steps, the paper's number, always in float32 or better. A is close to singular, so the
steps do not converge. That is an advantage: an exact pseudo-inverse would amplify the noise in A.

B batch, C channels in, D channels out, h heads, N tokens, m landmarks. Only W_o has a bias.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.registry import register_attention
from rtseg.attention.tokens import attention_weights, join_heads, pick, split_heads, to_map, to_tokens
from rtseg.checks import check_between, check_divides, check_one_of
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size
from rtseg.layers.pooling import adaptive_avg_pool2d

ITERATIONS = 6


def pseudo_inverse(a: Tensor, iterations: int = ITERATIONS) -> Tensor:
    """Newton-Schulz of third order, Z <- Z/4 (13 I - AZ (15 I - AZ (7 I - AZ))), from Z = A^T / (|A|_1 |A|_inf).

    a (n, m, m), rows of each sum to 1 -> (n, m, m). Every matrix has its own norms: with norms over the batch, as the
    released code has them, an image's output would depend on the others beside it.
    """
    eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    z = a.mT / a.sum(1).amax(1)[:, None, None]  # |A|_inf, the largest sum of a row, is 1
    for _ in range(iterations):
        az = a @ z
        polynomial = torch.baddbmm(15 * eye, az, 7 * eye - az, alpha=-1)
        polynomial = torch.baddbmm(13 * eye, az, polynomial, alpha=-1)
        z = z @ polynomial / 4
    return z


@register_attention("na", low={"heads": 8}, high={"heads": 2})
class NystromAttention(Attention):
    """(B, C, H, W) -> (B, D, ceil(H / stride), ceil(W / stride)).

    Args:
        landmarks: m, the paper has 32 or 64.
        placement: "grid", averages over the cells of an a x b grid, a b = m, as square as m allows and never higher
            than wide, or "segment", over m pieces of the map's rows in sequence, as for text.
        dwconv: side of a depthwise convolution of V that is added to y, an odd number; 0 for none, as in the published
            vision model.
        heads: must divide `out_channels`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        landmarks: int = 32,
        placement: str = "grid",
        dwconv: int = 0,
        heads: int = 8,
        **shape: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, **shape)
        out_channels = self.out_channels
        check_between("landmarks", landmarks, 1, 1024)
        check_between("dwconv", dwconv, 0, 127)
        check_one_of("placement", placement, ("grid", "segment"))
        check_divides("heads", heads, out_channels)
        if dwconv and dwconv % 2 == 0:
            raise UserError(f"dwconv={dwconv} has no centre; give an odd number such as 3, or 0 for none")
        self.heads = heads
        self.landmarks = landmarks
        rows = max(r for r in range(1, math.isqrt(landmarks) + 1) if landmarks % r == 0)
        self.grid = (rows, landmarks // rows) if placement == "grid" else None
        self.qkv = nn.Linear(in_channels, 3 * out_channels, bias=False)
        self.project = nn.Linear(out_channels, out_channels)
        nn.init.trunc_normal_(self.qkv.weight, std=0.02)
        nn.init.trunc_normal_(self.project.weight, std=0.02)
        nn.init.zeros_(self.project.bias)
        self.dwconv: nn.Conv2d | None = None
        if dwconv:
            self.dwconv = nn.Conv2d(
                out_channels, out_channels, dwconv, padding=dwconv // 2, groups=out_channels, bias=False
            )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        strided = self.strided(x)
        size = spatial_size(strided)
        qkv, averages = self._project(strided)
        few = size[0] * size[1] <= self.landmarks
        if isinstance(few, torch.SymBool):  # an export of open size: both ways go into it, and the size decides there
            y = torch.cond(few, self._exact, self._nystrom, (qkv, averages))
        else:
            y = self._exact(qkv, averages) if few else self._nystrom(qkv, averages)
        if self.dwconv is not None:
            y = y + to_tokens(self.dwconv(to_map(qkv.chunk(3, -1)[2], size)))
        return to_map(self.project(y), size)

    def _project(self, strided: Tensor) -> tuple[Tensor, Tensor]:
        """Q, K, V side by side, (B, N, 3 D), and Q~, K~, (B, m, 2 D)."""
        qkv = self.qkv(to_tokens(strided))
        queries_keys = qkv[..., : 2 * self.out_channels]
        if self.grid is not None:
            averages = adaptive_avg_pool2d(to_map(queries_keys, spatial_size(strided)), self.grid)
        else:
            averages = adaptive_avg_pool2d(queries_keys.transpose(1, 2).unsqueeze(2), (1, self.landmarks))
        return qkv, to_tokens(averages)

    def _heads(self, tokens: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(B, N, parts * D) -> `parts` times (B, h, N, D / h)."""
        return tuple(split_heads(t, self.heads) for t in tokens.chunk(parts, -1))

    def _exact(self, qkv: Tensor, averages: Tensor) -> Tensor:
        q, k, v = self._heads(qkv, 3)
        return join_heads(F.scaled_dot_product_attention(q, k, v))

    def _nystrom(self, qkv: Tensor, averages: Tensor) -> Tensor:
        (q, k, v), (q_landmarks, k_landmarks) = self._heads(qkv, 3), self._heads(averages, 2)
        gathered = F.scaled_dot_product_attention(q_landmarks, k, v)
        inverse = _landmark_inverse(q_landmarks, k_landmarks)
        with _without_autocast(q.device):
            gathered = (inverse @ gathered.to(inverse.dtype)).to(gathered.dtype)
        return join_heads(F.scaled_dot_product_attention(q, k_landmarks, gathered))

    def start_at_zero(self) -> None:
        """See `Attention`."""
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        c, d = self.in_channels, self.out_channels
        n, m = self.positions(height, width), self.landmarks
        kernel = 0 if self.dwconv is None else self.dwconv.kernel_size[0] ** 2 * d
        approximate = 4 * n * m * d + 2 * m * m * d + 4 * ITERATIONS * self.heads * m**3
        attention = 2 * n * n * d if n <= m else approximate
        return Cost(3 * c * d + d * d + d + kernel, n * (3 * c * d + d * d + kernel) + attention)

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """(B, h, N, N): the product of the three factors, whose rows sum to about 1 and can have negative entries, or
        the exact map of no more than m tokens. The depthwise convolution is not in it."""
        strided = self.strided(x)
        size = spatial_size(strided)
        qkv, averages = self._project(strided)
        (q, k, _), (q_landmarks, k_landmarks) = self._heads(qkv, 3), self._heads(averages, 2)
        if size[0] * size[1] <= self.landmarks:
            return AttentionMap(attention_weights(pick(q, at), k), size)
        inverse = _landmark_inverse(q_landmarks, k_landmarks).to(q.dtype)
        weights = attention_weights(pick(q, at), k_landmarks) @ inverse @ attention_weights(q_landmarks, k)
        return AttentionMap(weights, size)


def _landmark_inverse(q_landmarks: Tensor, k_landmarks: Tensor) -> Tensor:
    """Z (B, h, m, m), in float32 or better also under autocast: in half precision the steps lose two digits."""
    kind = torch.promote_types(q_landmarks.dtype, torch.float32)
    with _without_autocast(q_landmarks.device):
        weights = attention_weights(q_landmarks.to(kind), k_landmarks.to(kind))
        return pseudo_inverse(weights.flatten(0, 1)).unflatten(0, weights.shape[:2])


def _without_autocast(device: torch.device) -> AbstractContextManager:
    available = torch.amp.is_autocast_available(device.type)  # not on the meta device
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
