"""External attention against its equations, and against the GPU-friendly attention that it is a special case of."""

import pytest
import torch
from torch import nn

from rtseg.attention import create_attention
from rtseg.attention.external import ExternalAttention
from rtseg.attention.gpu_friendly import GPUFriendlyAttention
from rtseg.errors import UserError


def create(
    channels: int, out_channels: int | None = None, *, stride: int = 1, ratio: float = 0.25, heads: int = 8
) -> ExternalAttention:
    attention = ExternalAttention(channels, out_channels, stride=stride, ratio=ratio, heads=heads)
    for parameter in attention.parameters():
        nn.init.normal_(parameter)
    return attention


@pytest.mark.parametrize(("out_channels", "stride"), [(16, 1), (32, 2)])
@pytest.mark.parametrize("heads", [1, 2, 8])
def test_it_is_the_double_normalisation_in_a_loop_over_heads(heads: int, out_channels: int, stride: int) -> None:
    attention = create(16, out_channels, stride=stride, heads=heads)
    x = torch.randn(2, 16, 7, 5)
    per_head = x[:, :, ::stride, ::stride].flatten(2).chunk(heads, 1)
    y = []
    for tokens in per_head:
        scores = torch.einsum("mc,bcn->bmn", attention.keys, tokens)
        weights = torch.exp(scores) / torch.exp(scores).sum(2, keepdim=True)  # over the tokens
        weights = weights / (1e-6 + weights.sum(1, keepdim=True))  # over the slots
        y.append(torch.einsum("dm,bmn->bdn", attention.values, weights))
    torch.testing.assert_close(attention(x).flatten(2), torch.cat(y, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 8])
def test_it_is_gpu_friendly_attention_with_equal_blocks_on_the_diagonal(heads: int) -> None:
    external = create(16, ratio=1 / heads, heads=heads)
    friendly = GPUFriendlyAttention(16, groups=heads)
    with torch.no_grad():
        friendly.keys.weight.copy_(torch.block_diag(*[external.keys] * heads)[:, :, None, None])
        friendly.values.weight.copy_(torch.block_diag(*[external.values] * heads)[:, :, None, None])
    x = torch.randn(2, 16, 7, 5)
    torch.testing.assert_close(external(x), friendly(x), rtol=1e-5, atol=1e-6)


def test_it_ignores_a_constant_added_to_every_position() -> None:
    attention, x = create(16), torch.randn(2, 16, 6, 6)
    torch.testing.assert_close(attention(x + torch.randn(1, 16, 1, 1)), attention(x), rtol=1e-4, atol=1e-5)


def test_its_maps_times_the_values_are_its_output() -> None:
    attention = create(16, 32, stride=2, heads=4)
    x = torch.randn(2, 16, 7, 6)
    weights, key_size = attention.attention_map(x)
    assert key_size is None
    assert weights.shape == (2, 4, 12, 8)
    y = (weights @ attention.values.T).transpose(2, 3)
    torch.testing.assert_close(attention(x).flatten(2), y.flatten(1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("ratio", "channels", "slots"), [(0.125, 256, 32), (0.25, 256, 64), (1.0, 288, 288), (0.25, 72, 18), (0.3, 64, 19)]
)
def test_the_memory_is_a_share_of_the_width(ratio: float, channels: int, slots: int) -> None:
    attention = create_attention(f"ea:ratio={ratio}", 32, channels, branch="high")
    assert attention.attention_map(torch.randn(1, 32, 2, 2)).weights.shape == (1, 2, 4, slots)


def test_initial_values_are_small() -> None:
    for parameter in ExternalAttention(256).parameters():
        assert parameter.std().item() == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize(
    ("spec", "channels", "out_channels", "message"),
    [
        ("ea:heads=3", 16, 16, r"'ea': heads=3 does not divide 16 channels; choose one of \[1, 2, 4, 8, 16\]"),
        ("ea:heads=8", 12, 16, "heads=8 does not divide 12 channels"),
        ("ea:heads=8", 16, 12, "heads=8 does not divide 12 channels"),
        ("ea:ratio=0", 16, 16, "'ea': ratio=0.0 of 16 channels must be from 1/16, which is one slot, to 16"),
        ("ea:ratio=0.06", 16, 16, "ratio=0.06 of 16 channels must be from"),
        ("ea:ratio=-1", 16, 16, "ratio=-1.0 of 16 channels must be from"),
        ("ea:ratio=nan", 16, 16, "ratio=nan must be a finite number"),
        ("ea:ratio=inf", 16, 16, "ratio=inf must be a finite number"),
        ("ea:ratio=half", 16, 16, "'ea': ratio=half is not of type float"),
    ],
)
def test_a_memory_that_cannot_be_is_refused(spec: str, channels: int, out_channels: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_attention(spec, channels, out_channels)
