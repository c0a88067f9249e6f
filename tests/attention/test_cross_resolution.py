"""Cross-resolution attention against the reference's form of it."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from rtseg.attention.cross_resolution import CrossResolutionAttention

from .test_mechanisms import CONTEXT, create, inputs


@pytest.mark.parametrize("cross_size", [3, 8])
def test_ca_is_the_references_grouped_convolution(cross_size: int) -> None:
    """PaddleSeg's form: images side by side as groups of one convolution whose weights are the pooled context."""
    attention = CrossResolutionAttention(16, context_channels=CONTEXT, cross_size=cross_size)
    nn.init.normal_(attention.keys_values.weight)
    x, context = torch.randn(2, 16, 7, 9), torch.randn(2, CONTEXT, 5, 4)
    pooled = F.conv2d(F.adaptive_max_pool2d(attention.norm(context), cross_size), attention.keys_values.weight)
    keys, values = pooled.chunk(2, 1)
    tokens = cross_size**2
    # Keys are read by row: (B, C, s, s) -> (B * T, C, 1, 1); values are (B * C, T, 1, 1).
    keys = keys.flatten(2).transpose(1, 2).reshape(2 * tokens, 16, 1, 1)
    scores = F.conv2d(x.reshape(1, 2 * 16, 7, 9), keys, groups=2)
    weights = (scores * tokens**-0.5).reshape(2, tokens, 7, 9).softmax(1)
    y = F.conv2d(weights.reshape(1, 2 * tokens, 7, 9), values.reshape(2 * 16, tokens, 1, 1), groups=2)
    torch.testing.assert_close(attention(x, context), y.reshape(2, 16, 7, 9), rtol=1e-4, atol=1e-5)


def test_ca_normalises_before_it_pools() -> None:
    """A negative BatchNorm weight turns minima into maxima; normalising after the pool would not see them."""
    attention = CrossResolutionAttention(16, context_channels=CONTEXT, cross_size=1).eval()
    nn.init.constant_(attention.norm.weight, -1.0)
    context = torch.randn(1, CONTEXT, 4, 4)
    lowest = -context.amin((2, 3), keepdim=True) / (1 + attention.norm.eps) ** 0.5
    values = attention.keys_values(lowest)[:, 16:]
    torch.testing.assert_close(attention(torch.randn(1, 16, 3, 3), context), values.expand(1, 16, 3, 3))


@pytest.mark.parametrize(("choice", "factor"), [("tokens", 1 / 3), ("dim", 1 / 4)])
def test_cas_map_times_the_values_is_its_output(choice: str, factor: float) -> None:
    attention: Any = create(f"ca:cross_size=3:scale={choice}", "high").eval()
    x, context = inputs(2, 7, 9)
    weights, key_size = attention.attention_map(x, context)
    assert weights.shape == (2, 1, 63, 9)
    assert key_size == (3, 3)
    tokens = attention.keys_values(F.adaptive_max_pool2d(attention.norm(context), 3)).flatten(2)
    scores = torch.einsum("bcn,bcm->bnm", x.flatten(2), tokens[:, :16])
    torch.testing.assert_close(weights[:, 0], (factor * scores).softmax(2))
    y = weights[:, 0] @ tokens[:, 16:].transpose(1, 2)
    torch.testing.assert_close(attention(x, context).flatten(2).transpose(1, 2), y, rtol=1e-4, atol=1e-5)


def test_ca_computes_the_same_when_it_is_exported() -> None:
    attention: Any = create("ca:cross_size=3:scale=dim", "high").eval()
    sizes = {axis: torch.export.Dim.DYNAMIC for axis in (0, 2, 3)}
    exported = torch.export.export(attention, inputs(2, 7, 9), dynamic_shapes=(sizes, sizes)).module()
    for size in ((2, 7, 9), (3, 12, 8)):
        x, context = inputs(*size)
        torch.testing.assert_close(exported(x, context), attention(x, context), rtol=1e-4, atol=1e-5)
