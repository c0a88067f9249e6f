"""1x1 convolutions as rows of tokens: in evaluation, as matrix products that turn a channels_last map on the way.

Between two such maps, `gfa`, `fa` and `nl` work, above all by a softmax over tokens. That is quickest with the tokens
of a channel side by side in memory. A convolution of a channels_last map gives a channels_last map; a product writes
either layout at the same price. In training they stay convolutions, whose backward pass is quicker. A contiguous map
has the right layout already. docs/results/2026-11-25_attention_layouts.md has the figures.

B batch, C channels in, D channels out, N = H * W tokens in raster order.
"""

from torch import Tensor, nn

from rtseg.attention.tokens import to_map, to_tokens


def to_rows(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """conv(x) as (B, C, H, W) -> (B, D, N); in evaluation the tokens of a channel are contiguous."""
    if conv.training or x.is_contiguous():
        return conv(x).flatten(2)
    columns = to_tokens(x[:, :, :: conv.stride[0], :: conv.stride[1]]).mT
    rows = _matrices(conv, columns).bmm(columns)
    return rows if conv.bias is None else rows + conv.bias[:, None]


def rows_to_map(conv: nn.Conv2d, rows: Tensor, size: tuple[int, int], like: Tensor) -> Tensor:
    """conv of rows (B, C, N) -> (B, D, H, W), `size` = (H, W); in evaluation in the memory format of `like`."""
    if conv.training or like.is_contiguous():
        return conv(rows.unflatten(2, size))
    tokens = rows.mT.bmm(_matrices(conv, rows).mT)
    return to_map(tokens if conv.bias is None else tokens + conv.bias, size)


def _matrices(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """(B, D, C), a view: a product with a single matrix would choose the order of its result itself."""
    return conv.weight[:, :, 0, 0].expand(x.shape[0], -1, -1)
