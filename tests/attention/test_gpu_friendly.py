"""GPU-friendly attention against its equations written out."""

from typing import Any

import pytest
import torch
from torch import nn

from rtseg.attention.gpu_friendly import GPUFriendlyAttention, double_normalize

from .test_mechanisms import create


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize(("out_channels", "stride"), [(16, 1), (32, 2)])
def test_gfa_is_the_double_normalisation_in_a_loop_over_groups(groups: int, out_channels: int, stride: int) -> None:
    attention = GPUFriendlyAttention(16, out_channels, stride=stride, groups=groups)
    for conv in (attention.keys, attention.values):
        nn.init.normal_(conv.weight)
    x = torch.randn(2, 16, 7, 5)
    keys, values = attention.keys.weight[:, :, 0, 0], attention.values.weight[:, :, 0, 0]
    tokens = x[:, :, ::stride, ::stride].flatten(2)
    y = torch.zeros(2, out_channels, tokens.shape[2])
    per_group = out_channels // groups
    for image in range(2):
        for group in range(groups):
            slots = range(group * per_group, (group + 1) * per_group)
            over_space = [torch.softmax(keys[m] @ tokens[image], 0) for m in slots]
            total = sum(over_space) + 1e-6
            for m, weights in zip(slots, over_space, strict=True):
                y[image] += values[:, m, None] * (weights / total)
    torch.testing.assert_close(attention(x).flatten(2), y, rtol=1e-4, atol=1e-5)


def test_gfa_ignores_a_constant_added_to_every_position() -> None:
    attention, x = create("gfa", "low"), torch.randn(2, 16, 6, 6)
    torch.testing.assert_close(attention(x + torch.randn(1, 16, 1, 1)), attention(x), rtol=1e-4, atol=1e-5)


def test_gfa_takes_the_batch_norm_before_it_into_its_keys_as_a_scale() -> None:
    attention, norm, x = GPUFriendlyAttention(16).eval(), nn.BatchNorm2d(16).eval(), torch.randn(2, 16, 6, 6)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for parameter in (*attention.parameters(), norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(parameter)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    expected = attention(norm(x))
    with torch.no_grad():
        attention.keys.weight *= (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None, None]
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_gfas_log_norm_is_the_plain_one_without_its_constant() -> None:
    scores = 3 * torch.randn(2, 4, 5, 30, dtype=torch.float64)
    weights = scores.softmax(3)
    torch.testing.assert_close(
        double_normalize(scores, "log", tokens=3, slots=2), weights / weights.sum(2, keepdim=True)
    )
    torch.testing.assert_close(
        double_normalize(scores, tokens=3, slots=2), weights / (weights.sum(2, keepdim=True) + 1e-6)
    )
    assert (
        double_normalize(scores, "log", tokens=3, slots=2) - double_normalize(scores, tokens=3, slots=2)
    ).abs().max() > 1e-7
    # Far-away scores: the plain norm switches such positions off, the log norm does not.
    scores = 6 * torch.randn(1, 1, 8, 32768)
    assert double_normalize(scores, tokens=3, slots=2).sum(2).min() < 0.5
    torch.testing.assert_close(double_normalize(scores, "log", tokens=3, slots=2).sum(2), torch.ones(1, 1, 32768))


def test_gfas_maps_times_the_values_are_its_output() -> None:
    attention: Any = create("gfa:groups=4", "low", 16, 32, 2)
    x = torch.randn(2, 16, 7, 6)
    weights, key_size = attention.attention_map(x)
    assert key_size is None
    assert weights.shape == (2, 4, 12, 8)
    values = attention.values.weight[:, :, 0, 0].view(32, 4, 8)
    y = torch.einsum("bgnm,dgm->bdn", weights, values)
    torch.testing.assert_close(attention(x).flatten(2), y, rtol=1e-4, atol=1e-5)
