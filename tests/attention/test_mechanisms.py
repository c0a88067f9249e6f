"""Every mechanism against its equations written out, and properties that all of them share.

B batch, C channels in, D channels out, H, W height and width, N = H * W tokens.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.attention import create_attention, list_attentions
from rtseg.attention.base import Attention, Branch
from rtseg.attention.cross_resolution import CrossResolutionAttention
from rtseg.attention.gpu_friendly import GPUFriendlyAttention
from rtseg.attention.self_attention import SelfAttention
from rtseg.errors import UserError

CONTEXT = 24


def create(
    name: str, branch: Branch, channels: int = 16, out_channels: int | None = None, stride: int = 1
) -> Attention:
    context_channels = CONTEXT if branch == "high" else None
    attention = create_attention(
        name, channels, out_channels, stride=stride, context_channels=context_channels, branch=branch
    )
    for parameter in attention.parameters():  # tiny initial values would hide errors below the tolerance
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.3)
    return attention


def places() -> list[tuple[str, Branch]]:
    """Every mechanism in every branch that it can stand in."""
    found: list[tuple[str, Branch]] = []
    for name in list_attentions():
        for branch in ("low", "high"):
            try:
                create(name, branch)
            except UserError:
                continue
            found.append((name, branch))
    return found


PLACES = places()
LOW = [name for name, branch in PLACES if branch == "low"]
every_place = pytest.mark.parametrize(("name", "branch"), PLACES)


def inputs(batch: int, height: int, width: int, channels: int = 16) -> tuple[Tensor, Tensor]:
    """A feature map, and the context of a network: four times smaller."""
    return torch.randn(batch, channels, height, width), torch.randn(batch, CONTEXT, -(-height // 4), -(-width // 4))


# --- properties of all


def test_every_mechanism_stands_somewhere() -> None:
    assert {name for name, _ in PLACES} == set(list_attentions())
    assert ("ca", "low") not in PLACES


@every_place
@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 19), width=st.integers(1, 19), batch=st.integers(1, 2))
def test_any_size_keeps_its_size(name: str, branch: Branch, height: int, width: int, batch: int) -> None:
    y = create(name, branch).eval()(*inputs(batch, height, width))
    assert y.shape == (batch, 16, height, width)
    assert y.isfinite().all()


@pytest.mark.parametrize("name", LOW)
@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 19), width=st.integers(1, 19))
def test_the_low_branch_can_widen_and_halve(name: str, height: int, width: int) -> None:
    y = create(name, "low", 16, 32, stride=2).eval()(inputs(2, height, width)[0])
    assert y.shape == (2, 32, -(-height // 2), -(-width // 2))


@every_place
def test_memory_layout_does_not_matter(name: str, branch: Branch) -> None:
    attention, (x, context) = create(name, branch).eval(), inputs(2, 9, 13)
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, context)]
    torch.testing.assert_close(attention(*last), attention(x, context), rtol=1e-5, atol=1e-5)


@every_place
def test_images_of_a_batch_do_not_see_each_other(name: str, branch: Branch) -> None:
    attention, (x, context) = create(name, branch).eval(), inputs(3, 7, 5)
    alone = torch.cat([attention(x[i : i + 1], context[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(attention(x, context), alone, rtol=1e-5, atol=1e-5)


@every_place
@pytest.mark.parametrize(("scale", "offset"), [(0, 0), (0, 1e4), (1e3, 0)])
def test_extreme_input_gives_finite_output_and_gradients(
    name: str, branch: Branch, scale: float, offset: float
) -> None:
    attention = create(name, branch)
    x, context = ((scale * t + offset).requires_grad_() for t in inputs(2, 8, 8))
    y = attention(x, context)
    y.square().mean().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in attention.parameters())


@every_place
def test_gradients_are_those_of_finite_differences(name: str, branch: Branch) -> None:
    attention = create(name, branch, channels=8).double()
    x, context = (t.double().requires_grad_() for t in inputs(2, 3, 4, channels=8))
    parameters = dict(attention.named_parameters())

    def call(x: Tensor, context: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(attention, dict(zip(parameters, values, strict=True)), (x, context))

    assert torch.autograd.gradcheck(call, (x, context, *parameters.values()), fast_mode=True)


@every_place
@torch.no_grad()
def test_half_precision_stays_near_and_keeps_its_type(name: str, branch: Branch) -> None:
    attention, (x, context) = create(name, branch).eval(), inputs(2, 12, 12)
    reference = attention(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        y = attention(x, context)
    torch.testing.assert_close(y.float(), reference, rtol=0.1, atol=0.05 * float(reference.abs().max()))
    half = attention.bfloat16()(x.bfloat16(), context.bfloat16())
    assert half.dtype == torch.bfloat16


# --- GFA


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


# --- CA


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


# --- SA


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


def test_sa_sees_rows_that_fill_no_cell_of_the_reduction() -> None:
    attention = create("sa:reduction=4", "high").eval()
    x = torch.randn(1, 16, 6, 6)
    changed = x.clone()
    changed[..., 5, 5] += 10
    assert (attention(changed) - attention(x))[..., 0, 0].abs().max() > 1e-4


# --- counts (parameters, million multiply-adds of one image) at 512 x 512 of the slim network


@pytest.mark.parametrize(
    ("spec", "branch", "channels", "side", "parameters", "mmacs"),
    [
        ("sa", "high", 64, 64, 82_368, 186.65),
        ("sa", "low", 256, 16, 263_168, 100.66),
        ("sa:reduction=1", "high", 64, 64, 16_640, 2214.6),
        ("gfa", "high", 64, 64, 8_192, 33.55),
        ("gfa", "low", 256, 16, 131_072, 33.55),
        ("ca:cross_size=8", "high", 64, 64, 33_280, 35.65),
        ("ca:cross_size=12", "high", 64, 64, 33_280, 80.22),
    ],
)
def test_parameters_and_multiply_adds(
    spec: str, branch: Branch, channels: int, side: int, parameters: int, mmacs: float
) -> None:
    with torch.device("meta"):
        attention = create_attention(spec, channels, context_channels=256, branch=branch)
        x, context = torch.empty(1, channels, side, side), torch.empty(1, 256, 16, 16)
    assert sum(p.numel() for p in attention.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        attention.eval()(x, context)
    assert counter.get_total_flops() / 2e6 == pytest.approx(mmacs, rel=3e-4)


@pytest.mark.parametrize(("name", "parameters"), [("sa", 164_864), ("gfa", 98_304)])
def test_parameters_where_the_low_branch_widens(name: str, parameters: int) -> None:
    attention = create_attention(name, 128, 256, stride=2, branch="low")
    assert sum(p.numel() for p in attention.parameters()) == parameters


# --- initial values


def test_initial_values_are_the_references() -> None:
    gfa: Any = create_attention("gfa", 256, branch="low")
    for conv in (gfa.keys, gfa.values):
        assert conv.weight.std().item() == pytest.approx(1e-3, rel=0.02)
    ca: Any = create_attention("ca", 64, context_channels=256)
    assert ca.keys_values.weight.abs().max() <= 0.04
    assert ca.keys_values.weight.std().item() == pytest.approx(0.0176, rel=0.02)
    sa: Any = create_attention("sa", 64, branch="high")
    assert sa.queries.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert sa.reduce.weight.std().item() == pytest.approx((2 / (16 * 64)) ** 0.5, rel=0.02)
    assert all(p.abs().max() == 0 for name, p in sa.named_parameters() if name.endswith("bias") and "norm" not in name)
