"""Self-attention against PyTorch's own, and its reduction against a strided convolution."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.attention.self_attention import SelfAttention

from .test_mechanisms import create


def test_sa_is_torchs_multi_head_attention() -> None:
    attention = SelfAttention(16, heads=4, reduction=1)
    twin = nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_(std=0.5)
        twin.in_proj_weight.copy_(torch.cat([attention.queries.weight, attention.keys_values.weight]))
        twin.in_proj_bias.copy_(torch.cat([attention.queries.bias, attention.keys_values.bias]))
        twin.out_proj.load_state_dict(attention.project.state_dict())
    x = torch.randn(2, 16, 5, 6)
    tokens = x.flatten(2).transpose(1, 2)
    expected = twin(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reduction", "stride"), [(2, 1), (4, 1), (2, 2)])
def test_sa_reduces_keys_and_values_by_a_strided_convolution(reduction: int, stride: int) -> None:
    attention = SelfAttention(8, 16, stride=stride, heads=2, reduction=reduction)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 8, 16, 8)
    assert attention.reduce is not None
    step = reduction * stride
    reduced = F.conv2d(x, attention.reduce.weight, attention.reduce.bias, stride=step).flatten(2).transpose(1, 2)
    reduced = F.layer_norm(reduced, (8,), attention.reduce_norm.weight, attention.reduce_norm.bias)
    keys, values = attention.keys_values(reduced).chunk(2, -1)
    queries = attention.queries(x[:, :, ::stride, ::stride].flatten(2).transpose(1, 2))
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        scores = queries[..., head] @ keys[..., head].transpose(1, 2) / 8**0.5
        heads.append(scores.softmax(-1) @ values[..., head])
    expected = attention.project(torch.cat(heads, -1)).transpose(1, 2).reshape(2, 16, 16 // stride, 8 // stride)
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("reduction", "stride", "key_size"), [(1, 1, (5, 6)), (4, 1, (2, 2)), (2, 2, (2, 2))])
def test_sas_maps_times_the_values_are_its_output(reduction: int, stride: int, key_size: tuple[int, int]) -> None:
    attention: Any = create(f"sa:heads=2:reduction={reduction}", "low", stride=stride)
    x = torch.randn(2, 16, 5, 6)
    weights, size = attention.attention_map(x)
    assert size == key_size
    if attention.reduce is None:
        source = x.flatten(2).transpose(1, 2)
    else:
        step = reduction * stride
        padded = F.pad(x, (0, step * key_size[1] - 6, 0, step * key_size[0] - 5))
        source = attention.reduce_norm(attention.reduce(padded).flatten(2).transpose(1, 2))
    values = attention.keys_values(source)[..., 16:].unflatten(2, (2, 8)).transpose(1, 2)
    y = attention.project((weights @ values).transpose(1, 2).flatten(2)).transpose(1, 2)
    torch.testing.assert_close(attention(x).flatten(2), y, rtol=1e-4, atol=1e-5)


def test_sa_sees_rows_that_fill_no_cell_of_the_reduction() -> None:
    attention = create("sa:reduction=4", "high").eval()
    x = torch.randn(1, 16, 6, 6)
    changed = x.clone()
    changed[..., 5, 5] += 10
    assert (attention(changed) - attention(x))[..., 0, 0].abs().max() > 1e-4
