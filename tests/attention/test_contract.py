"""What a mechanism must have, what it may leave out, and what its registration refuses."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import rtseg
from rtseg.attention import Attention, create_attention, list_attentions, parse_attention, register_attention
from rtseg.attention.base import Drawing
from rtseg.attention.grammar import parse_branch
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from tests.helpers.fresh import run_fresh

BARE = """
from rtseg.attention import Attention, register_attention


@register_attention("bare")
class Bare(Attention):
    'Every position gets the mean of all; without a constructor, a cost, or a map.'

    def forward(self, x, context=None):
        y = self.strided(x) + x.mean((2, 3), keepdim=True)
        return y.repeat(1, self.out_channels // self.in_channels, 1, 1)


@register_attention("wrong")
class Wrong(Bare):
    'Asks for a value, which the meta device does not have; its cost and its map are not what they should be.'

    def forward(self, x, context=None):
        assert float(x.mean()) < 1e9
        return super().forward(x)

    def cost(self, height, width):
        return 7

    def attention_map(self, x, context=None, *, at=None):
        raise RuntimeError("no map")


@register_attention("broken")
class Broken(Bare):
    'Cannot be built.'

    def __init__(self, *widths, **shape):
        super().__init__(*widths, **shape)
        self.depth = shape["depth"]


@register_attention("asks", from_network=("cross_size", "depth"), high={"mode": "b"})
class Asks(Attention):
    'Takes what the network has.'

    def __init__(self, *widths, cross_size: "int" = 3, depth: int = 1, mode: str = "a", up: bool = False, **shape):
        super().__init__(*widths, **shape)
        self.got = cross_size, depth, mode, up

    def forward(self, x, context=None):
        return self.strided(x).repeat(1, self.out_channels // self.in_channels, 1, 1)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("plugin") / "bare_attention.py"
    file.write_text(BARE)
    return file


def python(plugin: Path, program: str) -> tuple[int, str]:
    """In a process of its own: what is registered here would be among the mechanisms that other tests list."""
    status, out, err = run_fresh(program, plugin.parent, COLUMNS="200", RTSEG_PLUGINS=str(plugin))
    return status, out + err


def test_what_a_mechanism_leaves_out_or_gets_wrong_costs_its_own_cell_or_sentence(plugin: Path) -> None:
    program = """
import sys, rtseg
from PIL import Image
from rtseg.errors import UserError
from rtseg.speed.cost import count_macs
from rtseg.studies.listing.attentions import attention_rows
from rtseg.studies.visualize import visualize

row = next(row for row in attention_rows() if row[0] == "`bare`")
assert row[1:] == (
    "Every position gets the mean of all; without a constructor, a cost, or a map.",
    "low, high", "none", "0", "—", "—", "no", "—",
), row
failures = []
rows = {row[0]: row[4:] for row in attention_rows(failures)}
assert rows["`wrong`"] == ("0", "—", "—", "no", "yes"), rows
assert rows["`broken`"] == ("—", "—", "—", "no", "—"), rows
said = "attention 'broken', constructor: KeyError: 'depth' (bare_attention.py, line "
assert failures[0].startswith(said), failures
assert failures[1].startswith("attention 'wrong', cost: TypeError: Wrong.cost() takes 3 "), failures
assert len(failures) == 2, failures
networks = [rtseg.create_model("rtformer_slim", 3, attention=name, base_channels=8) for name in ("bare", "wrong")]
assert len({count_macs(network, (32, 32)) for network in networks}) == 1
Image.new("RGB", (64, 48), "red").save("image.png")
for attention in ("bare", "gfa+bare", "gfa+wrong"):
    sizes = {"base_channels": 8, "head_channels": 8, "spp_channels": 8}
    rtseg.create_model("rtformer_slim", 3, attention=attention, **sizes).save_pretrained(attention)
try:
    visualize("bare", "image.png", "sheets")
except UserError as error:
    assert str(error) == "'bare' cannot be drawn: attention 'bare' has no attention_map", error
else:
    raise AssertionError("drawn")
drawn = visualize("gfa+bare", "image.png", "sheets")
assert sorted(path.name for path in drawn) == ["block4_low_gfa.jpg", "block5_low_gfa.jpg"], drawn
visualize("gfa+wrong", "image.png", "more_sheets")
"""
    status, said = python(plugin, program)
    assert status == 0, said
    assert "not drawn: attention 'bare' has no attention_map" in said
    assert "not drawn: the attention_map of attention 'wrong' fails: RuntimeError: no map (bare_attention.py" in said
    status, said = python(plugin, "from rtseg.cli import main; main(['list', 'attentions', '--details'])")
    assert (status, "bare" in said, "—" in said) == (0, True, True), said
    assert said.count("\n- attention '") == 2


def test_a_network_hands_over_what_a_mechanism_asks_for(plugin: Path) -> None:
    program = """
import rtseg
from rtseg.attention.build import resolve_attention
from rtseg.models.segmenter import differences

def got(text, **options):
    model = rtseg.create_model("rtformer_slim", 3, attention=text, base_channels=8, **options)
    return model.backbone.block4.low_attention.got, model.backbone.block4.high_attention.got

assert got("asks") == ((8, 1, "a", False), (8, 1, "b", False))
assert got("asks", cross_size=5) == ((5, 1, "a", False), (5, 1, "b", False))
assert got("asks:up=true+asks:cross_size=4:mode=a:up=False", cross_size=5) == (
    (5, 1, "a", True), (4, 1, "a", False)
)
assert resolve_attention("asks", {"depth": 7, "heads": 3})[0].options["depth"] == 7
one, other = (rtseg.create_model("rtformer_slim", 3, attention="asks", cross_size=n).card for n in (2, 4))
assert differences(one, other) == {"options": ({"cross_size": 2}, {"cross_size": 4})}
try:
    got("asks:up=1")
except ValueError as error:
    assert str(error) == "attention 'asks': up=1 is not of type bool", error
else:
    raise AssertionError("built")
"""
    status, said = python(plugin, program)
    assert status == 0, said


@pytest.mark.parametrize("attention", ["gfa+ca", "sa:heads=4"])
def test_the_text_is_parsed_once_on_its_way_to_the_network(attention: str) -> None:
    calls: list[Any] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: calls.append(frame.f_code) if event == "call" else None)
    try:
        rtseg.create_model("rtformer_slim", 3, attention=attention, base_channels=8)
    finally:
        sys.setprofile(before)
    assert calls.count(parse_attention.__code__) == 1
    assert calls.count(parse_branch.__code__) == 2
    assert calls.count(create_attention.__code__) == 4


class WithoutType(Attention):
    def __init__(self, in_channels: int, *, depth=2, **shape: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(in_channels, **shape)


class WithoutDefault(Attention):
    def __init__(self, in_channels: int, *, depth: int, **shape: Any) -> None:
        super().__init__(in_channels, **shape)


class WithAList(Attention):
    def __init__(self, in_channels: int, *, depth: list[int] | None = None, **shape: Any) -> None:
        super().__init__(in_channels, **shape)


class WithoutShape(Attention):
    def __init__(self, in_channels: int, out_channels: int | None = None) -> None:
        super().__init__(in_channels, out_channels)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("cls", "arguments", "message"),
    [
        (Attention, {}, r"'toy': Attention lacks `forward\(x, context=None\)`"),
        (
            WithoutShape,
            {},
            r"constructor of WithoutShape must take .* `\*\*shape`: got an unexpected keyword .* 'stride'",
        ),
        (WithoutType, {}, "'toy': write option 'depth' of WithoutType with a type .* as in `depth: int = 4`"),
        (WithoutDefault, {}, "write option 'depth' of WithoutDefault with a type .* and a default"),
        (WithAList, {}, "write option 'depth' of WithAList with a type"),
        (Attention, {"from_network": ("depth",)}, "'toy': 'depth' is not a keyword-only parameter of Attention"),
        (Attention, {"low": {"depth": 2}}, "'depth' is not a keyword-only parameter"),
        (Attention, {"high": {"depth": 2}}, "'depth' is not a keyword-only parameter"),
    ],
)
def test_a_registration_that_cannot_work_is_refused(cls: type[Attention], arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        register_attention("toy", **arguments)(cls)
    assert "toy" not in list_attentions()


@pytest.mark.parametrize("name", list_attentions())
def test_every_mechanism_says_what_it_is(name: str) -> None:
    attention = create_attention(name, 8, context_channels=16)
    assert attention.name == name
    assert (attention.in_channels, attention.out_channels, attention.stride) == (8, 8, 1)
    assert attention.keeps_shape
    assert attention.has_cost
    assert attention.has_map
    assert not Attention(8).has_map
    assert not Attention(8).has_cost


def drawn(name: str, x: Tensor, position: tuple[int, int]) -> Drawing:
    attention = create_attention(name, 8, context_channels=8).eval()
    return attention.drawing(x, x if get_mechanism(name).needs_context else None, position=position)


KINDS = {
    "fa": ("basis masks", "head", "mask"),
    "gfa": ("memory slots", "group", "slot"),
    "ea": ("memory slots", "head", "slot"),
}


@pytest.mark.parametrize("name", list_attentions())
def test_every_mechanism_says_what_kind_of_map_it_draws(name: str) -> None:
    drawing = drawn(name, torch.randn(2, 8, 10, 6), (3, 4))
    assert (drawing.kind, drawing.head, drawing.part) == KINDS.get(name, ("heads", "head", ""))
    assert drawing.of_position == (name not in KINDS)
    assert drawing.maps.ndim == 4
    assert drawing.maps.isfinite().all()


def test_the_cells_of_a_reduced_map_that_reach_beyond_the_input_are_cut() -> None:
    assert drawn("sa", torch.randn(1, 8, 10, 6), (9, 5)).maps.shape[2:] == (10, 6)


@pytest.mark.parametrize("name", list_attentions())
def test_only_gfa_absorbs_a_scale_and_gives_the_same_for_a_scaled_input(name: str) -> None:
    attention = create_attention(name, 8, context_channels=8).eval()
    x, scale = torch.randn(2, 8, 6, 5), torch.rand(8, dtype=torch.float64) + 0.5
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
        shifted = scale.float()[:, None, None] * x + torch.randn(8, 1, 1)
        expected = attention(shifted) if name == "gfa" else None
        before = {key: value.clone() for key, value in attention.state_dict().items()}
        assert attention.absorb_scale(scale) == (name == "gfa")
        if expected is not None:
            torch.testing.assert_close(attention(x), expected)
        else:
            assert all(torch.equal(before[key], value) for key, value in attention.state_dict().items())
