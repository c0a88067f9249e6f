"""Properties that all mechanisms share, or some and not the others; their equations are in a file of each.

B batch, C channels in, D channels out, H, W height and width, N = H * W tokens.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from rtseg.attention import create_attention, list_attentions
from rtseg.attention.base import Attention
from rtseg.attention.registry import Branch
from rtseg.errors import UserError

CONTEXT = 24

# Beside every mechanism with its defaults: options that lead through other code, at sizes where they do.
VARIANTS = [
    "ca:cross_size=3:scale=dim",
    "ea:ratio=1",
    "fa:kind=dot:values=none",
    "fa:kind=dot:normalize=channels",
    "fa:transformer=2",
    "gfa:norm=log",
    "la:k=5:grid=3",
    "na:landmarks=4",
    "na:landmarks=6:placement=segment:dwconv=3",
    "nl:kind=dot",
]


def create(
    spec: str, branch: Branch, channels: int = 16, out_channels: int | None = None, stride: int = 1
) -> Attention:
    context_channels = CONTEXT if branch == "high" else None
    attention = create_attention(
        spec, channels, out_channels, stride=stride, context_channels=context_channels, branch=branch
    )
    for parameter in attention.parameters():  # tiny initial values would hide errors below the tolerance
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=min(0.3, (parameter.numel() / len(parameter)) ** -0.5))
    return attention


def places() -> list[tuple[str, Branch]]:
    """Every mechanism in every branch that it can stand in."""
    found: list[tuple[str, Branch]] = []
    for spec in [*list_attentions(), *VARIANTS]:
        for branch in ("low", "high"):
            try:
                create(spec, branch)
            except UserError:
                continue
            found.append((spec, branch))
    return found


PLACES = places()
LOW = [spec for spec, branch in PLACES if branch == "low"]
every_place = pytest.mark.parametrize(("spec", "branch"), PLACES)


def inputs(batch: int, height: int, width: int, channels: int = 16) -> tuple[Tensor, Tensor]:
    """A feature map, and the context of a network: four times smaller."""
    return torch.randn(batch, channels, height, width), torch.randn(batch, CONTEXT, -(-height // 4), -(-width // 4))


def distance(y: Tensor, expected: Tensor) -> float:
    """Largest difference as a share of the largest value."""
    return float(((y - expected).abs().max() / expected.abs().max()).detach())


# --- properties of all


def test_every_mechanism_stands_in_both_branches_but_ca() -> None:
    alone = {"ca", "ca:cross_size=3:scale=dim"}
    specs = {*list_attentions(), *VARIANTS}
    assert set(PLACES) == {(spec, "high") for spec in specs} | {(spec, "low") for spec in specs - alone}


@every_place
@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 19), width=st.integers(1, 19), batch=st.integers(1, 2))
@example(height=1, width=1, batch=1)
@example(height=33, width=20, batch=1)
def test_any_size_keeps_its_size(spec: str, branch: Branch, height: int, width: int, batch: int) -> None:
    y = create(spec, branch).eval()(*inputs(batch, height, width))
    assert y.shape == (batch, 16, height, width)
    assert y.isfinite().all()


@pytest.mark.parametrize("spec", LOW)
@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 19), width=st.integers(1, 19))
def test_the_low_branch_can_widen_and_halve(spec: str, height: int, width: int) -> None:
    y = create(spec, "low", 16, 32, stride=2).eval()(inputs(2, height, width)[0])
    assert y.shape == (2, 32, -(-height // 2), -(-width // 2))


@every_place
def test_memory_layout_does_not_matter(spec: str, branch: Branch) -> None:
    attention, (x, context) = create(spec, branch).eval(), inputs(2, 9, 13)
    last = [t.contiguous(memory_format=torch.channels_last) for t in (x, context)]
    assert distance(attention(*last), attention(x, context)) < 5e-6


@every_place
def test_images_of_a_batch_do_not_see_each_other(spec: str, branch: Branch) -> None:
    attention, (x, context) = create(spec, branch).eval(), inputs(3, 7, 5)
    alone = torch.cat([attention(x[i : i + 1], context[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(attention(x, context), alone, rtol=1e-5, atol=1e-5)


@every_place
@pytest.mark.parametrize(("scale", "offset"), [(0, 0), (0, 1e4), (1e3, 0)])
def test_extreme_input_gives_finite_output_and_gradients(
    spec: str, branch: Branch, scale: float, offset: float
) -> None:
    attention = create(spec, branch)
    x, context = ((scale * t + offset).requires_grad_() for t in inputs(2, 8, 8))
    y = attention(x, context)
    y.square().mean().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in attention.parameters())


@every_place
def test_every_parameter_learns(spec: str, branch: Branch) -> None:
    attention = create(spec, branch, 32)  # with 16 channels, heads of `fa` have one of each, and a softmax of one is 1
    x, context = inputs(2, 9, 8, 32)
    (attention(x, context) * torch.randn(2, 32, 9, 8)).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 1e-6, name


@every_place
def test_gradients_are_those_of_finite_differences(spec: str, branch: Branch) -> None:
    attention = create(spec, branch).double()
    x, context = (t.double().requires_grad_() for t in inputs(2, 3, 4))
    parameters = dict(attention.named_parameters())

    def call(x: Tensor, context: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(attention, dict(zip(parameters, values, strict=True)), (x, context))

    assert torch.autograd.gradcheck(call, (x, context, *parameters.values()), fast_mode=True)


@every_place
@torch.no_grad()
def test_half_precision_stays_near_and_keeps_its_type(spec: str, branch: Branch) -> None:
    # Not 16 channels: oneDNN 3.13 gets the strided convolution of `sa` wrong there, in bfloat16 on processors with AMX.
    attention, (x, context) = create(spec, branch, 32).eval(), inputs(2, 12, 12, 32)
    reference = attention(x, context)
    with torch.autocast("cpu", torch.bfloat16):
        y = attention(x, context)
    torch.testing.assert_close(y.float(), reference, rtol=0.1, atol=0.05 * float(reference.abs().max()))
    half = attention.bfloat16()(x.bfloat16(), context.bfloat16())
    assert half.dtype == torch.bfloat16


@every_place
@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 19), width=st.integers(1, 19))
def test_the_cost_is_what_a_profiler_counts(spec: str, branch: Branch, height: int, width: int) -> None:
    stride = 2 if branch == "low" else 1
    attention = create(spec, branch, 16, 16 * stride, stride).eval()
    x, context = inputs(1, height, width)
    with FlopCounterMode(display=False) as counter:
        attention(x, context)
    cost = attention.cost(height, width, (context.shape[2], context.shape[3]))
    assert cost.parameters == sum(p.numel() for p in attention.parameters())
    assert 2 * cost.macs == counter.get_total_flops()


@every_place
def test_attention_maps_name_every_position_and_key(spec: str, branch: Branch) -> None:
    stride = 2 if branch == "low" else 1
    attention, (x, context) = create(spec, branch, 16, 16 * stride, stride).eval(), inputs(2, 9, 7)
    weights, key_size = attention.attention_map(x, context)
    assert weights.shape[::2] == (2, attention(x, context)[0, 0].numel())
    assert key_size is None or weights.shape[3] == key_size[0] * key_size[1]
    if not spec.startswith(("la", "na")) and "dot" not in spec:  # these mix with weights of any sign
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(3), torch.ones(weights.shape[:3]), rtol=0, atol=2e-4)


@every_place
@pytest.mark.parametrize("size", [(9, 7), (2, 1)])  # na changes its way with the size
@torch.no_grad()
def test_one_row_of_an_attention_map_is_that_row(spec: str, branch: Branch, size: tuple[int, int]) -> None:
    stride = 2 if branch == "low" else 1
    attention, (x, context) = create(spec, branch, 16, 16 * stride, stride).eval(), inputs(2, *size)
    whole = attention.attention_map(x, context)
    for at in range(whole.weights.shape[2]):
        row = attention.attention_map(x, context, at=at)
        assert row.key_size == whole.key_size
        torch.testing.assert_close(row.weights, whole.weights[:, :, at : at + 1], rtol=1e-4, atol=1e-6)
    with pytest.raises((IndexError, RuntimeError)):
        attention.attention_map(x, context, at=whole.weights.shape[2])


@pytest.mark.parametrize("spec", ["sa:reduction=1", *(spec for spec, branch in PLACES if branch == "high")])
@torch.no_grad()
def test_one_row_takes_memory_linear_in_the_positions(spec: str) -> None:
    """Read from the shapes of all that is made; the meta device makes nothing else of a map of a million positions."""
    with torch.device("meta"):
        attention = create_attention(spec, 16, context_channels=CONTEXT, branch="high")
        x, context = torch.empty(1, 16, 1024, 1024), torch.empty(1, CONTEXT, 256, 256)
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            results = result if isinstance(result, tuple | list) else (result,)
            largest = max([largest, *(t.numel() for t in results if isinstance(t, Tensor))])
            return result

    with Watch():
        weights = attention.attention_map(x, context, at=5).weights
    assert weights.shape[2] == 1
    assert largest <= 100 * 1024**2


@pytest.mark.parametrize("spec", ["ca", "la", "na:landmarks=4", "na:landmarks=6:placement=segment", "nl", "sa"])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_fused_kernel_takes_every_dot_product_attention(spec: str, memory_format: torch.memory_format) -> None:
    """It refuses tokens whose channels are not contiguous, and PyTorch would fall back to the slow way in silence."""
    attention = create(spec, "high").eval()
    x, context = (t.contiguous(memory_format=memory_format) for t in inputs(2, 9, 8))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        attention(x, context)


# --- properties of some, and that the others lack them


def permute(x: Tensor) -> Tensor:
    """The positions in another order, the same one at every call."""
    order = torch.randperm(x.shape[2] * x.shape[3], generator=torch.Generator().manual_seed(1))
    return x.flatten(2)[..., order].view(x.shape)


def double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


# Those that pool positions by where they are.
POOLING = [spec for spec, branch in PLACES if branch == "high" and spec.split(":")[0] in ("la", "na", "sa")]
POOLING.append("na:landmarks=8:placement=segment")


@pytest.mark.parametrize(
    "spec", ["sa:reduction=1", *(spec for spec, branch in PLACES if branch == "high" and spec not in POOLING)]
)
def test_the_order_of_positions_does_not_matter(spec: str) -> None:
    attention, (x, context) = create(spec, "high").eval(), inputs(2, 8, 8)
    assert distance(attention(permute(x), context), permute(attention(x, context))) < 2e-6


@pytest.mark.parametrize("spec", POOLING)
def test_the_order_of_positions_matters_where_they_are_pooled(spec: str) -> None:
    attention, x = create(spec, "high").eval(), 3 * inputs(2, 8, 8)[0]
    assert distance(attention(permute(x)), permute(attention(x))) > 0.05


@pytest.mark.parametrize(
    ("spec", "tolerance"),
    [
        ("sa:reduction=1", 3e-6),
        ("ea", 1e-3),  # not exact: 1e-6 is added to sums of 1 / N
        ("gfa", 1e-3),
        ("gfa:norm=log", 3e-6),
        ("ca", 3e-6),
        ("la:grid=4", 3e-6),
        ("na:landmarks=32", 1e-4),
    ],
)
def test_a_doubled_map_gives_the_doubled_output(spec: str, tolerance: float) -> None:
    attention, (x, context) = create(spec, "high").eval(), inputs(2, 8, 16)
    doubled = attention(double(x), context)
    assert distance(doubled, double(attention(x, context))) < tolerance


@pytest.mark.parametrize("spec", ["sa:reduction=4", "na:landmarks=32:placement=segment"])
def test_a_doubled_map_is_another_where_cells_have_a_size(spec: str) -> None:
    attention, x = create(spec, "high").eval(), 3 * inputs(2, 8, 16)[0]
    assert distance(attention(double(x)), double(attention(x))) > 0.05


# --- counts (parameters, million multiply-adds of one image) at 512 x 512 of the slim network


@pytest.mark.parametrize(
    ("spec", "branch", "parameters", "mmacs"),
    [
        ("sa", "high", 82_368, 186.65),
        ("sa", "low", 263_168, 100.66),
        ("sa:reduction=1", "high", 16_640, 2214.6),
        ("gfa", "high", 8_192, 33.55),
        ("gfa", "low", 131_072, 33.55),
        ("ca:cross_size=8", "high", 33_280, 35.65),
        ("ca:cross_size=12", "high", 33_280, 80.22),
        ("ea:ratio=0.125", "high", 512, 4.19),
        ("ea:ratio=0.25", "low", 4_096, 8.39),
        ("ea:ratio=1", "high", 4_096, 33.55),
        ("ea:ratio=1", "low", 16_384, 33.55),
        ("la", "high", 147_520, 209.7),
        ("la:grid=64", "high", 2_113_600, 335.5),
        ("la:k=64", "high", 49_216, 102.8),
        ("la", "low", 393_472, 134.2),
        ("la:k=64", "low", 295_168, 83.9),
        ("na", "high", 16_448, 102.4),
        ("na:landmarks=64", "high", 16_448, 147.3),
        ("na", "low", 262_400, 82.3),
        ("na:landmarks=64", "low", 262_400, 136.3),
        ("fa", "high", 8_192, 37.75),
        ("fa", "low", 131_072, 34.60),
        ("fa:heads=1:values=none", "high", 8_192, 50.33),
        ("fa:heads=1:values=none", "low", 131_072, 50.33),
        ("nl:kind=dot:heads=1:values=none", "high", 8_192, 1644.2),
        ("nl:kind=dot:heads=1:values=none", "low", 131_072, 58.7),
    ],
)
def test_parameters_and_multiply_adds(spec: str, branch: Branch, parameters: int, mmacs: float) -> None:
    """In the slim network, of an image of 512x512."""
    channels, side = {"high": (64, 64), "low": (256, 16)}[branch]
    with torch.device("meta"):
        attention = create_attention(spec, channels, context_channels=256, branch=branch)
        x, context = torch.empty(1, channels, side, side), torch.empty(1, 256, 16, 16)
    cost = attention.cost(side, side, (16, 16))
    assert cost.parameters == sum(p.numel() for p in attention.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        attention.eval()(x, context)
    assert 2 * cost.macs == counter.get_total_flops()
    assert cost.macs / 1e6 == pytest.approx(mmacs, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "parameters"), [("sa", 164_864), ("gfa", 98_304), ("ea", 3_072), ("la", 295_168), ("na", 164_096)]
)
def test_parameters_where_the_low_branch_widens(name: str, parameters: int) -> None:
    attention = create_attention(name, 128, 256, stride=2, branch="low")
    assert attention.cost(32, 32).parameters == sum(p.numel() for p in attention.parameters()) == parameters


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
