"""Attention at named places of every network, see `rtseg.attention.insertion`."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rtseg.attention import list_attentions
from rtseg.attention.insertion import Inserted, described, insert, inserted_entries, list_places, resolve
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model, list_models
from rtseg.training.pretrained import load_pretrained
from tests.helpers.segmenters import narrow

INSERTABLE = [name for name in list_attentions() if not get_mechanism(name).needs_context]


def small(name: str, insert: Any = None) -> Segmenter:
    torch.manual_seed(0)
    return create_model(name, 5, insert=insert, **narrow(name))


def output(network: Segmenter, image: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)  # of drop path
    with torch.no_grad():
        return network.train().forward_train(image)


@pytest.fixture(scope="module")
def image() -> Tensor:
    return torch.rand(2, 3, 33, 64, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("name", list_models())
def test_an_inserted_network_equals_the_original_until_it_learns(name: str, image: Tensor) -> None:
    plain, inserted = small(name), small(name, {"*": "fa:heads=1", "stage1": ["gfa:groups=1"]})
    assert list(inserted.card.insert) == list(list_places(plain))  # every place, without patterns
    assert inserted.card.insert["stage1"] == ("fa:heads=1", "gfa:groups=1")
    own = plain.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in inserted.state_dict().items() if key in own)
    for key, expected in output(plain, image).items():
        assert torch.equal(output(inserted, image)[key], expected), key


@pytest.mark.parametrize("name", ["ddrnet_23_slim", "pidnet_l", "rtformer_slim"])
def test_every_place_has_its_width_and_stride_and_acts(name: str, image: Tensor) -> None:
    network = small(name, {"*": "fa:heads=1"})
    before = output(network, image)
    seen: dict[str, tuple[int, ...]] = {}
    for place, (owner, key, _) in list_places(network).items():
        owner.inserted[key].register_forward_hook(
            lambda _, inputs, __, place=place: seen.__setitem__(place, tuple(inputs[0].shape))
        )
        for parameter in owner.inserted[key].parameters():
            assert parameter.requires_grad
    output(network, image)
    for place, (_, _, (channels, stride)) in list_places(network).items():
        assert seen[place] == (2, channels, -(-33 // stride), -(-64 // stride)), place
    for place, prefix in inserted_entries(network).items():
        state = {key: value.clone() for key, value in network.state_dict().items()}
        last = network.get_parameter(f"{prefix}0.project.weight")
        torch.nn.init.normal_(last)
        changed = output(network, image)
        assert any(not torch.equal(changed[key], before[key]) for key in before), place
        network.load_state_dict(state)


@pytest.mark.parametrize("attention", INSERTABLE)
def test_every_attention_starts_at_zero_and_learns(attention: str) -> None:
    inserted, x = Inserted([attention], 16), torch.rand(2, 16, 5, 7)
    assert torch.equal(inserted(x), x)
    inserted(x).square().sum().backward()
    assert any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in inserted.parameters())


@pytest.mark.parametrize("attention", ["fa:values=none", "fa:transformer=2", "na:dwconv=3", "sa:reduction=1"])
def test_options_start_at_zero_too(attention: str) -> None:
    x = torch.rand(1, 16, 5, 7)
    assert torch.equal(Inserted([attention], 16)(x), x)


def test_two_attentions_in_a_row_both_act() -> None:
    both, x = Inserted(["fa:heads=1", "sa:heads=1"], 8), torch.rand(1, 8, 4, 4)
    for parameter in both.parameters():
        torch.nn.init.normal_(parameter)
    first = x + both[0](x)
    assert torch.equal(both(x), first + both[1](first))
    assert not torch.equal(first, x)
    assert not torch.equal(both(x), first)


def test_an_attention_that_moves_changes_nothing_else() -> None:
    networks = [small("ddrnet_23_slim", {place: "fa:heads=1"}) for place in ("stage3_high", "stage4_high")]
    states = [network.state_dict() for network in networks]
    shared = states[0].keys() & states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in shared)
    moved = [{key.partition(".inserted.")[2].partition(".")[2]: s[key] for key in s.keys() - shared} for s in states]
    assert moved[0].keys() == moved[1].keys() != set()
    assert all(torch.equal(moved[0][key], moved[1][key]) for key in moved[0])  # both maps have one width


def test_loading_weights_reports_exactly_what_is_inserted(tmp_path: Path) -> None:
    small("ddrnet_23_slim").save_pretrained(tmp_path / "plain")
    network = small("ddrnet_23_slim", {"stage5": "fa"})
    fresh = [key for key in network.state_dict() if ".inserted." in key]
    lines = load_pretrained(network, str(tmp_path / "plain"))
    assert lines[1:] == [f"{len(fresh)} inserted entries are initialised: {', '.join(fresh)}."]
    network.save_pretrained(tmp_path / "inserted")
    assert Segmenter.from_pretrained(tmp_path / "inserted").card.insert == {"stage5": ("fa",)}
    lines = load_pretrained(small("ddrnet_23_slim"), str(tmp_path / "inserted"))
    assert lines[1:] == [f"{len(fresh)} inserted entries of the weights are left out: {', '.join(fresh)}."]
    assert len(load_pretrained(small("ddrnet_23_slim", {"stage5": "fa"}), str(tmp_path / "inserted"))) == 1


@pytest.mark.parametrize(
    ("insertion", "says"),
    [
        ({"layer9": "fa"}, "unknown place 'layer9'. Known: stage1, stage2"),
        ({"stage55": "fa"}, "Did you mean 'stage5'?"),
        ({"stage5": "ca"}, "'ca' reads a second map"),
        ({"stage5": "fa+sa"}, "names an attention for each of two branches"),
        ({"stage5": "fa:heads=7"}, "insert stage5=fa:heads=7 (128 channels): attention 'fa': heads=7 does not divide"),
        ({"stage5": "ffa"}, "unknown attention 'ffa'. Did you mean 'fa'?"),
        ({"stage5": 3}, "insert stage5=3: write an attention such as"),
        ({"stage5": []}, "insert stage5=[]: write an attention such as"),
        ({"fa": ""}, "insert fa='': write an attention such as"),
        ("stage5=fa", "insert='stage5=fa': write places and attentions"),
        ({3: "fa"}, "insert 3='fa': write an attention"),
    ],
)
def test_bad_insertions_are_named(insertion: Any, says: str) -> None:
    with pytest.raises(UserError) as error:
        small("ddrnet_23_slim", insertion)
    assert says in str(error.value)


def test_a_network_without_places_says_so() -> None:
    with pytest.raises(UserError, match="this network has no places"):
        insert(torch.nn.Identity(), {"*": ["fa"]})


PLACES = ["layer1", "layer2", "fpn.p2", "fpn.p3"]


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from([*PLACES, "*", "fpn.*", "layer?"]), st.just(("fa",)), min_size=1))
def test_patterns_resolve_in_the_order_of_the_places(insertion: dict[str, tuple[str, ...]]) -> None:
    found = resolve(insertion, PLACES)
    assert list(found) == [place for place in PLACES if place in found]
    assert resolve(found, PLACES) == found
    assert resolve({"fpn.*": ("fa",), "*": ("sa",)}, PLACES)["fpn.p2"] == ("fa", "sa")


def test_an_insertion_is_described_by_attention() -> None:
    insertion = {"layer3": ("nl",), "fpn.p2": ("fa", "ea"), "fpn.p3": ("fa", "ea")}
    assert described(insertion) == "nl at layer3; fa and ea at fpn.p2, fpn.p3"
