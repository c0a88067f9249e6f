"""Linformer: the paper's on the map it was made for, and the same thing on every other."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention import create_attention
from rtseg.attention.linformer import LinformerAttention
from rtseg.attention.self_attention import SelfAttention
from rtseg.errors import UserError


def create(
    channels: int = 16, out_channels: int | None = None, *, stride: int = 1, k: int, grid: int
) -> LinformerAttention:
    attention = LinformerAttention(channels, out_channels, stride=stride, k=k, grid=grid, heads=4)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    return attention


def by_hand(attention: LinformerAttention, x: Tensor, mix_keys: Tensor, mix_values: Tensor) -> Tensor:
    """Linformer with its mixing matrices over the tokens of x, head by head."""
    queries, keys, values = (t.chunk(attention.heads, -1) for t in attention.qkv(x.flatten(2).mT).chunk(3, -1))
    y = [
        torch.softmax(q @ (mix_keys @ k).mT / q.shape[-1] ** 0.5, -1) @ (mix_values @ v)
        for q, k, v in zip(queries, keys, values, strict=True)
    ]
    return attention.project(torch.cat(y, -1)).mT.unflatten(2, x.shape[2:])


@pytest.mark.parametrize(("out_channels", "stride"), [(16, 1), (32, 2)])
def test_on_a_map_of_its_grid_it_is_linformer(out_channels: int, stride: int) -> None:
    attention = create(16, out_channels, stride=stride, k=7, grid=5)
    x = torch.randn(2, 16, 5 * stride, 5 * stride)
    expected = by_hand(attention, x[:, :, ::stride, ::stride], attention.mix_keys, attention.mix_values)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ratio", [(2, 2), (3, 1)])
def test_on_a_multiple_of_its_grid_its_matrices_are_resized(ratio: tuple[int, int]) -> None:
    attention = create(k=7, grid=4)
    x = torch.randn(2, 16, 4 * ratio[0], 4 * ratio[1])

    def resize(mix: Tensor) -> Tensor:
        return F.interpolate(mix.view(1, 7, 4, 4), x.shape[2:], mode="nearest").flatten(2)[0] / (ratio[0] * ratio[1])

    expected = by_hand(attention, x, resize(attention.mix_keys), resize(attention.mix_values))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(4, 4), (9, 6), (2, 3)])
def test_without_mixing_it_is_self_attention_to_pooled_keys_and_values(size: tuple[int, int]) -> None:
    """On a map of the grid's size, self-attention without biases."""
    attention = create(k=16, grid=4)
    twin = SelfAttention(16, heads=4)
    with torch.no_grad():
        for mix in (attention.mix_keys, attention.mix_values):
            mix.copy_(torch.eye(16))
        twin.queries.weight.copy_(attention.qkv.weight[:16])
        twin.keys_values.weight.copy_(attention.qkv.weight[16:])
        twin.project.load_state_dict(attention.project.state_dict())
    x = torch.randn(2, 16, *size)
    if size == (4, 4):
        torch.testing.assert_close(attention(x), twin(x), rtol=1e-5, atol=1e-6)
    pooled = F.adaptive_avg_pool2d(x, 4).flatten(2).mT  # the maps to keys and values are linear: they may come after
    q, (k, v) = twin.queries(x.flatten(2).mT), twin.keys_values(pooled).chunk(2, -1)
    y = F.scaled_dot_product_attention(*(t.unflatten(-1, (4, 4)).transpose(1, 2) for t in (q, k, v)))
    expected = twin.project(y.transpose(1, 2).flatten(2)).mT.unflatten(2, size)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "stride"), [((6, 8), 1), ((3, 2), 1), ((9, 7), 2)])
def test_its_map_times_the_pooled_values_is_its_output(size: tuple[int, int], stride: int) -> None:
    attention = create(stride=stride, k=7, grid=4)
    x = torch.randn(2, 16, *size)
    strided = x[:, :, ::stride, ::stride]
    weights, key_size = attention.attention_map(x)
    assert key_size == (4, 4)
    assert weights.shape == (2, 4, strided.shape[2] * strided.shape[3], 16)
    pooled = F.adaptive_avg_pool2d(strided, 4).flatten(2).mT
    values = attention.qkv(pooled)[..., 32:].unflatten(-1, (4, 4)).transpose(1, 2)
    y = attention.project((weights @ values).transpose(1, 2).flatten(2)).mT
    torch.testing.assert_close(attention(x).flatten(2), y, rtol=1e-4, atol=1e-5)


def test_initial_values_keep_the_size_of_keys() -> None:
    for grid, bound in ((16, 1 / 16), (64, 1 / 64), (8, 1 / 16)):
        attention = LinformerAttention(16, k=256, grid=grid)
        assert attention.mix_keys.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert attention.mix_values.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("la:heads=3", r"'la': heads=3 does not divide 16 channels; choose one of \[1, 2, 4, 8, 16\]"),
        ("la:k=0", "attention 'la': k=0 must be from 1 to 1024"),
        ("la:grid=0", "attention 'la': grid=0 must be from 1 to 256"),
        ("la:grid=-4", "attention 'la': grid=-4 must be from 1 to 256"),
        ("la:size=4", r"attention 'la' has no option 'size'. Known: grid, heads, k."),
    ],
)
def test_bad_options_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attention(spec, 16)
