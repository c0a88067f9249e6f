"""`fa` and `nl` on sequences and volumes, and the authors' published layer."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtseg.attention import create_attention
from rtseg.attention.factorized import FactorizedAttention
from rtseg.attention.insertion import Inserted
from rtseg.errors import UserError

SIZES = st.one_of(st.tuples(st.integers(1, 12)), st.tuples(*[st.integers(1, 4)] * 3))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["fa", "nl"]), st.sampled_from(["gauss", "dot"]), SIZES, st.booleans())
def test_positions_count_and_not_where_they_lie(name: str, kind: str, size: tuple[int, ...], training: bool) -> None:
    attention = create_attention(f"{name}:kind={kind}:heads=2", 8).train(training)
    x = torch.randn(2, 8, *size)
    y = attention(x)
    assert y.shape == x.shape
    as_map = attention(x.reshape(2, 8, 1, -1))
    assert torch.equal(y.flatten(2), as_map.flatten(2))
    assert torch.equal(Inserted([name], 8)(x), x)


@pytest.mark.parametrize("shape", [(1, 8), (1, 8, 2, 2, 2, 2)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"takes maps \(B, C, H, W\)"):
        create_attention("fa", 8)(torch.rand(shape))
    with pytest.raises(UserError, match="with stride 2"):
        create_attention("fa", 8, stride=2)(torch.rand(1, 8, 4))


class Published(nn.Module):
    """The authors' layer, written from their description: 1x1 maps with biases; queries are normalised over a head's
    channels, keys over the positions; the input is added.
    """

    def __init__(self, channels: int, key_channels: int, heads: int, value_channels: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys = nn.Conv2d(channels, key_channels, 1)
        self.queries = nn.Conv2d(channels, key_channels, 1)
        self.values = nn.Conv2d(channels, value_channels, 1)
        self.reprojection = nn.Conv2d(value_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        each = zip(*(m(x).flatten(2).chunk(self.heads, 1) for m in (self.keys, self.queries, self.values)), strict=True)
        parts = [(F.softmax(keys, 2) @ values.mT).mT @ F.softmax(queries, 1) for keys, queries, values in each]
        return self.reprojection(torch.cat(parts, 1).unflatten(2, x.shape[2:])) + x


def results(layer: Any, run: Any, x: Tensor, names: Mapping[str, str]) -> dict[str, Tensor]:
    leaf = x.clone().requires_grad_()
    y = run(leaf)
    y.square().sum().backward()
    gradients = {names[name]: parameter.grad for name, parameter in layer.named_parameters()}
    return {"output": y.detach(), "input": leaf.grad, **gradients}


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_authors_layer_gives_the_same_output_and_gradients(heads: int, channels_last: bool) -> None:
    torch.manual_seed(0)
    theirs = Published(12, 16, heads, 8)
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.5)
    ours = FactorizedAttention.from_authors(theirs.state_dict(), heads=heads)
    x = torch.randn(2, 12, 5, 7)
    x = x.contiguous(memory_format=torch.channels_last) if channels_last else x
    parts = {"coefficients": "queries", "basis": "keys", "values": "values", "project": "reprojection"}
    names = {f"{own}.{part}": f"{name}.{part}" for own, name in parts.items() for part in ("weight", "bias")}
    expected = results(theirs, theirs, x, {name: name for name in names.values()})
    keys = expected["keys.weight"].abs().max()
    for key, value in results(ours, lambda leaf: leaf + ours(leaf), x, names).items():
        # The softmax over the positions cancels what a bias of the keys adds: its gradient is rounding alone.
        largest = keys if key == "keys.bias" else expected[key].abs().max()
        assert (value - expected[key]).abs().max() <= 1e-5 * largest, key
    evaluated = ours.eval()(x) + x
    assert (evaluated - expected["output"]).abs().max() <= 1e-5 * expected["output"].abs().max()
    assert ours.cost(5, 7).parameters == sum(parameter.numel() for parameter in theirs.parameters())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("keys.bias"), "has the entries keys.weight, keys.bias"),
        (lambda state: state.update({"queries.weight": torch.zeros(4, 12, 1, 1)}), "'coefficients.weight' is (4, 12"),
        (lambda state: state.clear(), "has none"),
    ],
)
def test_other_state_dicts_are_refused(change: Any, says: str) -> None:
    state = Published(12, 16, 2, 8).state_dict()
    change(state)
    with pytest.raises(UserError) as error:
        FactorizedAttention.from_authors(state, heads=2)
    assert says in str(error.value)
    with pytest.raises(UserError, match="heads=3 does not divide"):
        FactorizedAttention.from_authors(Published(12, 16, 2, 8).state_dict(), heads=3)
    flat = {**Published(12, 16, 2, 8).state_dict(), "keys.weight": torch.zeros(16)}
    with pytest.raises(UserError, match=r"'keys\.weight' is \(16,\): weights have four dimensions"):
        FactorizedAttention.from_authors(flat, heads=2)
