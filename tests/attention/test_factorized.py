"""`fa` and `nl`: the paper's equations, their equality, their invariances, and their cost.

B batch, C channels in, D channels out, h heads, N tokens, b and m channels of the basis and of the values.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.attention import create_attention
from rtseg.attention.factorized import FactorizedAttention, ProjectedAttention
from rtseg.attention.non_local import NonLocalAttention
from rtseg.errors import UserError
from rtseg.studies.complexity.growth import count_floats

BOTH = pytest.mark.parametrize("name", ["fa", "nl"])
KINDS = pytest.mark.parametrize("kind", ["gauss", "dot"])
HEADS = pytest.mark.parametrize("heads", [1, 2, 4])


def create(spec: str, channels: int = 16, out_channels: int | None = None, stride: int = 1) -> Any:
    attention = create_attention(spec, channels, out_channels, stride=stride, branch="high")
    for parameter in attention.parameters():  # large enough for the softmaxes to choose
        nn.init.normal_(parameter, std=0.5)
    return attention


def twins(options: str, **sizes: int) -> tuple[FactorizedAttention, NonLocalAttention]:
    """The two of the same options and the same weights."""
    factorized, conventional = create(f"fa:{options}", **sizes), create(f"nl:{options}", **sizes)
    conventional.load_state_dict(factorized.state_dict())
    return factorized, conventional


# --- the two are one where the paper says so


@HEADS
@pytest.mark.parametrize("normalize", ["channels", "tokens"])
@pytest.mark.parametrize("more", ["", ":values=none:basis=4", ":values=12", ":transformer=2"])
def test_factorized_dot_is_conventional_dot(heads: int, normalize: str, more: str) -> None:
    for dtype, tolerance in ((torch.float32, 2e-6), (torch.float64, 1e-14)):
        pair = [a.to(dtype) for a in twins(f"kind=dot:heads={heads}:normalize={normalize}{more}")]
        x = torch.randn(2, 16, 7, 5, dtype=dtype)
        ys, gradients = [], []
        for attention in pair:
            leaf = x.clone().requires_grad_()
            y = attention(leaf)
            ys.append(y.detach())
            y.square().sum().backward()
            gradients.append([leaf.grad, *(p.grad for p in attention.parameters())])
        assert relative(ys[0], ys[1]) < tolerance
        assert all(relative(a, b) < 20 * tolerance for a, b in zip(*gradients, strict=True))


def test_they_are_one_at_the_size_of_the_network_as_well() -> None:
    factorized, conventional = twins("kind=dot", channels=64)
    x = torch.randn(1, 64, 48, 48)
    assert relative(factorized(x), conventional(x)) < 2e-6


def test_gauss_is_not_the_conventional_gauss() -> None:
    factorized, conventional = twins("kind=gauss")
    x = torch.randn(1, 16, 6, 6)
    assert relative(factorized(x), conventional(x)) > 1e-2


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max() / b.detach().abs().max())


# --- the equations


def by_loop(attention: ProjectedAttention, x: Tensor, *, factorized: bool, divisor: float | None) -> Tensor:
    """Equations 3, 4, 6 and 9 of the paper, image by image and head by head, then reprojection and feed-forward part.

    `divisor` is that of a dot product; None stands for the Gaussian.
    """
    stride, size = attention.basis.stride[0], attention.basis(x).shape[-2:]
    images = []
    for image in x[:, :, ::stride, ::stride].flatten(2).transpose(1, 2):
        parts = []
        maps = (attention.coefficients, attention.basis, attention.values)
        weights = [conv.weight[:, :, 0, 0].chunk(attention.heads) for conv in maps]
        for per_coefficients, per_basis, per_values in zip(*weights, strict=True):
            c, b, v = image @ per_coefficients.T, image @ per_basis.T, image @ per_values.T
            if divisor is not None:
                parts.append((c @ b.T) @ v / divisor)
            elif factorized:
                parts.append(c.softmax(1) @ (b.softmax(0).T @ v))
            else:
                parts.append((c @ b.T).softmax(1) @ v)
        y = torch.cat(parts, 1)
        if attention.project is not None:
            y = y @ attention.project.weight[:, :, 0, 0].T
        if attention.feedforward is not None:
            first, second = (p[:, :, 0, 0] for p in attention.feedforward.parameters())
            seen = image + y if y.shape == image.shape and stride == 1 else y
            y = y + (seen @ first.T).relu() @ second.T
        images.append(y.T.unflatten(1, size))
    return torch.stack(images)


@BOTH
@HEADS
@pytest.mark.parametrize(
    ("options", "divides"),
    [
        ("kind=gauss", None),
        ("kind=gauss:values=none:basis=4", None),
        ("kind=gauss:transformer=2", None),
        ("kind=dot:normalize=channels", "channels"),
        ("kind=dot:normalize=tokens:values=12", "tokens"),
    ],
)
@pytest.mark.parametrize(("out_channels", "stride"), [(16, 1), (32, 2)])
def test_they_are_the_equations_in_a_loop(
    name: str, heads: int, options: str, divides: str | None, out_channels: int, stride: int
) -> None:
    attention = create(f"{name}:{options}:heads={heads}", 16, out_channels, stride)
    x = torch.randn(2, 16, 7, 5)
    tokens = math.ceil(7 / stride) * math.ceil(5 / stride)
    divisor = {None: None, "channels": attention.basis.out_channels / heads, "tokens": tokens}[divides]
    expected = by_loop(attention, x, factorized=name == "fa", divisor=divisor)
    assert expected.shape == (2, out_channels, math.ceil(7 / stride), math.ceil(5 / stride))
    torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=2e-5 * float(expected.detach().abs().max()))


@BOTH
@KINDS
@HEADS
def test_the_map_applied_to_the_values_is_the_attention(name: str, kind: str, heads: int) -> None:
    attention = create(f"{name}:kind={kind}:heads={heads}:values=none", stride=2)
    x = torch.randn(2, 16, 9, 6)
    weights, key_size = attention.attention_map(x)
    assert weights.shape == (2, heads, 15, 15)
    assert key_size == (5, 3)
    values = attention.values(x).flatten(2).unflatten(1, (heads, -1))
    y = (values @ weights.transpose(2, 3)).flatten(1, 2).unflatten(2, key_size)
    torch.testing.assert_close(attention(x), y, rtol=1e-5, atol=1e-5)
    if kind == "gauss":
        torch.testing.assert_close(weights.sum(3), torch.ones(2, heads, 15), rtol=0, atol=1e-6)
        assert weights.min() >= 0
        low, high = values.amin(3), values.amax(3)
        y = y.flatten(2).unflatten(1, (heads, -1))
        assert ((y >= low[..., None] - 1e-5) & (y <= high[..., None] + 1e-5)).all()


def test_basis_maps_are_the_masks_of_the_map() -> None:
    attention = create("fa:heads=2:basis=12", stride=2)
    x = torch.randn(2, 16, 7, 9)
    masks = attention.basis_maps(x)
    assert masks.shape == (2, 2, 6, 4, 5)
    torch.testing.assert_close(masks.sum((3, 4)), torch.ones(2, 2, 6), rtol=0, atol=1e-6)
    shares = attention.coefficients(x).flatten(2).unflatten(1, (2, 6)).softmax(2)
    torch.testing.assert_close(
        attention.attention_map(x).weights, torch.einsum("bhkn,bhkyx->bhnyx", shares, masks).flatten(3)
    )
    dot = create("fa:kind=dot:heads=2:basis=12")
    torch.testing.assert_close(dot.basis_maps(x).flatten(1, 2), dot.basis(x))


# --- invariances


@BOTH
@KINDS
def test_the_order_of_positions_does_not_matter(name: str, kind: str) -> None:
    attention, x = create(f"{name}:kind={kind}"), torch.randn(2, 16, 6, 7)
    order = torch.randperm(42)

    def reorder(t: Tensor) -> Tensor:
        return t.flatten(2)[:, :, order].unflatten(2, (6, 7))

    torch.testing.assert_close(attention(reorder(x)), reorder(attention(x)), rtol=1e-5, atol=1e-5)


@BOTH
@pytest.mark.parametrize(
    ("options", "factor"), [("kind=gauss", 1), ("kind=dot:normalize=tokens", 1), ("kind=dot:normalize=channels", 4)]
)
def test_a_map_of_doubled_pixels_gives_doubled_pixels(name: str, options: str, factor: int) -> None:
    """A dot product divided by its channels grows with the number of positions, the others do not."""
    attention, x = create(f"{name}:{options}"), torch.randn(2, 16, 5, 6)

    def double(t: Tensor) -> Tensor:
        return t.repeat_interleave(2, 2).repeat_interleave(2, 3)

    assert relative(attention(double(x)), factor * double(attention(x))) < 3e-6


@BOTH
@KINDS
@pytest.mark.parametrize("more", ["", ":transformer=1", ":values=none"])
def test_gradients_are_those_of_finite_differences(name: str, kind: str, more: str) -> None:
    attention = create(f"{name}:kind={kind}:heads=2{more}", channels=4).double()
    parameters = dict(attention.named_parameters())
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64, requires_grad=True)

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(attention, dict(zip(parameters, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(call, (x, *parameters.values()), fast_mode=True)


@BOTH
@KINDS
@torch.no_grad()
def test_half_precision_stays_near(name: str, kind: str) -> None:
    attention, x = create(f"{name}:kind={kind}"), 0.3 * torch.randn(1, 16, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        y = attention(x)
    assert relative(y.float(), attention(x)) < 0.05


def test_one_graph_serves_every_size() -> None:
    attention = create("fa:kind=dot:normalize=tokens:transformer=1")
    height, width = torch.export.Dim("height", min=2, max=64), torch.export.Dim("width", min=2, max=64)
    program = torch.export.export(attention, (torch.randn(1, 16, 8, 12),), dynamic_shapes=({2: height, 3: width},))
    for size in ((5, 7), (16, 3)):
        x = torch.randn(1, 16, *size)
        torch.testing.assert_close(program.module()(x), attention(x), rtol=1e-5, atol=1e-5)


# --- cost


def written(attention: ProjectedAttention, x: Tensor) -> int:
    """With the sum of the block's residual connection, but for a transformer, whose sums are inside."""

    def step() -> None:
        y = attention(x)
        if attention.feedforward is None:
            _ = x + y

    return count_floats(step)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    ["kind=dot", "kind=dot:values=none", "kind=dot:basis=16:values=12", "kind=dot:transformer=1", "kind=gauss"],
)
@BOTH
def test_costs_are_those_of_a_profiler(name: str, options: str, heads: int) -> None:
    attention, x = create(f"{name}:{options}:heads={heads}"), torch.randn(1, 16, 9, 11)
    cost = attention.cost(9, 11)
    assert cost.parameters == sum(p.numel() for p in attention.parameters())
    with FlopCounterMode(display=False) as counter:
        attention(x)
    assert cost.macs * 2 == counter.get_total_flops()
    if name == "nl" and options == "kind=gauss":
        # The kernel that keeps the map to itself, and copies in its layout.
        assert written(attention, x) < cost.activation_floats
    else:
        assert written(attention, x) == cost.activation_floats


@BOTH
@pytest.mark.parametrize(("out_channels", "stride"), [(32, 1), (16, 2), (32, 2)])
def test_costs_where_stride_and_width_change(name: str, out_channels: int, stride: int) -> None:
    attention = create(f"{name}:transformer=2", 16, out_channels, stride)
    cost = attention.cost(9, 11)
    assert cost.parameters == sum(p.numel() for p in attention.parameters())
    with FlopCounterMode(display=False) as counter:
        attention(torch.randn(1, 16, 9, 11))
    assert cost.macs * 2 == counter.get_total_flops()


@pytest.mark.parametrize(
    ("spec", "floats", "macs"),
    [
        # c = 16, b = k = 4, m = 8, h = 2, s = 60
        ("fa:kind=dot:heads=1:values=none", (2 * 4 + 3 * 16) * 60 + 4 * 16, (4 * 4 * 16 + 16**2) * 60),
        (
            "nl:kind=dot:heads=1:values=none",
            (2 * 4 + 3 * 16) * 60 + 60**2,
            (2 * 4 * 16 + 16**2) * 60 + (4 + 16) * 60**2,
        ),
        ("fa:kind=dot:heads=1", (8 + 16 + 32) * 60 + 4 * 8, (2 * 4 * 16 + 2 * 8 * 16 + 2 * 4 * 8) * 60),
        ("nl:kind=dot:heads=1", (8 + 16 + 32) * 60 + 60**2, (2 * 4 * 16 + 2 * 8 * 16) * 60 + (4 + 8) * 60**2),
        ("fa:kind=dot:heads=2", (8 + 16 + 32) * 60 + 4 * 8 // 2, (2 * 4 * 16 + 2 * 8 * 16 + 4 * 8) * 60),
        ("nl:kind=dot:heads=2", (8 + 16 + 32) * 60 + 2 * 60**2, (2 * 4 * 16 + 2 * 8 * 16) * 60 + (4 + 8) * 60**2),
        (
            "fa:kind=dot:heads=2:transformer=1",
            (8 + 16 + 6 * 16) * 60 + 4 * 8 // 2,
            (2 * 4 * 16 + 2 * 8 * 16 + 4 * 8 + 2 * 16**2) * 60,
        ),
        (
            "nl:kind=dot:heads=2:transformer=1",
            (8 + 16 + 6 * 16) * 60 + 2 * 60**2,
            (2 * 4 * 16 + 2 * 8 * 16 + 2 * 16**2) * 60 + (4 + 8) * 60**2,
        ),
    ],
)
def test_costs_are_the_formulas_of_the_paper(spec: str, floats: int, macs: int) -> None:
    """Table 9 in true multiply-adds; every row checked against a profiler above."""
    cost = create(f"{spec}:basis=4").cost(6, 10)
    assert (cost.activation_floats, cost.macs) == (floats, macs)


def test_costs_where_the_low_branch_of_the_network_widens() -> None:
    assert create_attention("fa", 128, 256, stride=2, branch="low").cost(32, 32).parameters == 81_920


# --- options


def test_defaults_are_half_the_width_and_the_heads_of_the_branch() -> None:
    low: Any = create_attention("fa", 256, branch="low")
    high: Any = create_attention("nl", 64, branch="high")
    assert (low.kind, low.heads, low.basis.out_channels, low.values.out_channels) == ("gauss", 8, 128, 128)
    assert (high.kind, high.heads, high.basis.out_channels, high.values.out_channels) == ("gauss", 2, 32, 32)
    assert all(not name.endswith("bias") for name, _ in low.named_parameters())


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("heads=3", r"heads=3 does not divide 32 channels; choose one of \[1, 2, 4, 8, 16, 32\]"),
        ("heads=8:values=12", "heads=8 does not divide 12 channels"),
        ("heads=64:values=none", "heads=64 does not divide 32 channels"),
        ("heads=0", "heads=0 does not divide 32 channels"),
        ("basis=0", "basis=0 must be from 1 to 4096"),
        ("values=-4", "values=-4 must be from 1 to 4096"),
        ("basis=none", "basis=none is not a number; give one, or 'half'"),
        ("values=all", "values=all is not a number; give one, or 'half' or 'none'"),
        ("kind=softmax", r"kind=softmax is unknown\. Known: dot, gauss"),
        ("normalize=keys", r"normalize=keys is unknown\..* Known: channels, tokens"),
        ("transformer=-1", "transformer=-1 must be from 0 to 64"),
        ("transformer=yes", "transformer=yes is not of type int"),
        ("bottleneck=3", "has no option 'bottleneck'"),
    ],
)
def test_bad_options_get_the_repair(name: str, options: str, message: str) -> None:
    with pytest.raises(UserError, match=f"attention '{name}'.*{message}"):
        create_attention(f"{name}:{options}", 64)


def test_other_options_do_not_take_the_weights() -> None:
    with pytest.raises(RuntimeError, match=r"project\.weight"):
        create("nl:values=none").load_state_dict(create("fa").state_dict())
