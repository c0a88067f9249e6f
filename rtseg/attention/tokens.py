"""A feature map as a list of tokens and back, and the heads of dot-product attention.

B batch, C channels, N = H * W tokens in raster order, h heads. All are views: after a linear map on tokens, a token's
channels are the contiguous axis, without which the fused attention kernels step aside.
"""

from torch import Tensor


def to_tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C). A strided channels_last map is copied, and keeps its layout."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, N, C) -> (B, C, H, W), `size` = (H, W)."""
    return tokens.transpose(1, 2).unflatten(2, size)


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, h, N, C / h)."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(y: Tensor) -> Tensor:
    """(B, h, N, C / h) -> (B, N, C)."""
    return y.transpose(1, 2).flatten(2)


def pick(tokens: Tensor, at: int | None) -> Tensor:
    """(..., N, c) -> (..., 1, c), the token `at` alone; all of them with None."""
    return tokens if at is None else tokens.narrow(-2, at, 1)


def attention_weights(queries: Tensor, keys: Tensor, scale: float | None = None) -> Tensor:
    """softmax(scale * queries keys^T), whose rows sum to 1.

    `scaled_dot_product_attention` computes it too, and does not return it.

    queries (..., N, c), keys (..., M, c) -> (..., N, M); scale 1 / sqrt(c) by default.
    """
    scale = queries.shape[-1] ** -0.5 if scale is None else scale
    return (scale * queries @ keys.mT).softmax(-1)
