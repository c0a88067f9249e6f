"""Heads by name: what every one keeps on every backbone that it fits, and what is said of one that does not fit."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models import create_model, list_heads, list_models
from rtseg.models.backbone import Auxiliary, FeatureInfo, choose_head
from rtseg.models.ddrnet import DDRNet
from rtseg.models.heads import Head, create_head, register_head
from rtseg.models.heads.conv import ConvHead
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter, differences
from rtseg.registry import UnknownNameError
from tests.helpers.segmenters import small

MAPS = {"high": FeatureInfo(8, 8), "low": FeatureInfo(12, 32), "fine": FeatureInfo(6, 4), "as_fine": FeatureInfo(5, 4)}


@torch.no_grad()
@pytest.mark.parametrize("name", list_heads())
@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_logits_are_at_the_stride_that_it_says(name: str, size: tuple[int, int]) -> None:
    own = [model for model in list_models() if choose_head(model, None) == name]
    features = small(own[0], None).backbone.features if own else MAPS
    head = create_head(name, features, 3).eval()
    maps = {
        key: torch.randn(2, channels, *(-(-side // stride) for side in size))
        for key, (channels, stride) in features.items()
    }
    logits = head(maps)
    assert logits.shape == (2, 3, *(-(-side // head.stride) for side in size))
    assert logits.isfinite().all()


def test_conv_reads_the_map_that_is_named_or_the_finest() -> None:
    for options, name, stride in (({}, "fine", 4), ({"map": "low"}, "low", 32)):
        head: Any = create_head("conv", MAPS, 3, **options)
        assert (head.map, head.stride) == (name, stride)
        assert head.hidden[2].out_channels == MAPS[name].channels
    wide: Any = create_head("conv", MAPS, 3, head_channels=7)
    assert wide.hidden[2].out_channels == 7


def test_a_model_takes_another_head_and_its_card_says_so() -> None:
    network = small("ddrnet_23_slim", None, head="conv").eval()
    assert (network.card.head, network.head.stride, network.head.map) == ("conv", 8, "high")
    assert choose_head("ddrnet_23_slim", None) == small("ddrnet_23_slim", None).card.head == "dual_resolution"
    again = Segmenter(network.card)
    again.load_weights(network.state_dict(), source="it")
    coarse = small("ddrnet_23_slim", None, head="conv", map="low").eval()
    assert coarse.head.stride == 64
    assert coarse.logits(torch.randn(1, 3, 70, 90)).shape == (1, 5, 2, 2)
    assert coarse(torch.randn(1, 3, 70, 90)).shape == (1, 5, 70, 90)
    assert coarse.aux_head.map == "aux"  # whose map the output says


def test_cards_without_a_head_mean_the_models_own() -> None:
    card = small("ddrnet_23_slim", None).card
    old = ModelCard.from_dict({key: value for key, value in card.to_dict().items() if key != "head"})
    assert old.head is None
    assert Segmenter(old).state_dict().keys() == Segmenter(card).state_dict().keys()
    assert differences(old, card) == {}
    other = small("ddrnet_23_slim", None, head="conv").card
    assert differences(old, other) == {"head": ("dual_resolution", "conv")}
    added = ModelCard("ddrnet_23_slim", "none", 5, {"fusion": "add"})
    assert differences(added, ModelCard("ddrnet_23_slim", "none", 5)) == {}  # it is the backbone's default for its head


def test_a_user_may_join_the_branches_otherwise() -> None:
    added = small("rtformer_slim", fusion="add")
    assert added.head.classifier.hidden[2].in_channels == 16
    assert small("rtformer_slim").head.classifier.hidden[2].in_channels == 32
    with pytest.raises(UserError, match="head 'dual_resolution': fusion='sum' must be one of concatenate, add, as the"):
        small("rtformer_slim", fusion="sum")


def test_an_unknown_head_meets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown head 'convv'. Did you mean 'conv'\? Known: .*conv, dual_res"):
        create_model("ddrnet_23_slim", 5, head="convv")
    with pytest.raises(UserError, match="head=3 must be a name, or null for the model's own"):
        ModelCard("ddrnet_23_slim", "none", 5, head=3)  # type: ignore[arg-type]


def test_a_map_that_is_not_there() -> None:
    maps = {"c4": FeatureInfo(8, 16), "c5": FeatureInfo(8, 32)}
    words = r"'dual_resolution' reads the feature map 'high', which the backbone does not have. Known: c4, c5. Choose a"
    with pytest.raises(UserError, match=words) as error:
        create_head("dual_resolution", maps, 5)
    others = str(error.value).partition("or another head")[2]
    assert "conv" in others
    assert "dual_resolution" not in others
    with pytest.raises(UserError, match=r"head 'conv' reads the feature map 'c3', .* Did you mean 'c[45]'\? Known: c4"):
        create_head("conv", maps, 5, map="c3")


def test_logits_that_are_not_what_the_head_says() -> None:
    network = small("ddrnet_23_slim", None).eval()
    network.head.stride = 4
    says = (
        r"model 'ddrnet_23_slim': output 'main' is \(2, 5, 4, 4\) for .* 5 channels at stride 4 would be \(2, 5, 8, 8\)"
    )
    with pytest.raises(UserError, match=says):
        network.logits(torch.zeros(2, 3, 32, 32))
    with pytest.raises(UserError, match=r"correct forward, or self\.stride"):
        network.logits(torch.zeros(2, 3, 32, 32))
    network = small("ddrnet_23_slim", None)
    network.aux_head.classify[2] = torch.nn.Conv2d(16, 1, 1)
    with pytest.raises(UserError, match=r"output 'aux' is \(2, 1, 4, 4\) for .* would be \(2, 5, 4, 4\)"):
        network.forward_train(torch.zeros(2, 3, 32, 32))


def test_which_map_an_auxiliary_head_reads_is_no_option() -> None:
    with pytest.raises(UserError, match="model 'rtformer_slim' has no option 'map'"):
        small("rtformer_slim", map="low")
    assert small("rtformer_slim", head="conv", map="low").aux_head.map == "aux"


def test_a_default_that_the_own_head_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DDRNet, "head_options", {"fusoin": "add"})
    small("ddrnet_23_slim", None, head="conv")
    says = "model 'ddrnet_23_slim' gives its head 'dual_resolution' a default of 'fusoin', .* Did you mean 'fusion'"
    with pytest.raises(UserError, match=says):
        small("ddrnet_23_slim", None)


def test_a_default_for_the_own_head_that_another_does_not_take() -> None:
    """PIDNet's head has a `fusion` too, of other kinds."""
    assert small("pidnet_s", None, head="dual_resolution").head.fusion == "concatenate"
    assert small("ddrnet_23_slim", None, head="dual_resolution").head.fusion == "add"


def test_the_head_of_pidnet_on_other_maps() -> None:
    with pytest.raises(UserError, match="head 'boundary_attention' reads the feature map 'boundary', which the"):
        small("ddrnet_23_slim", None, head="boundary_attention")
    maps = {"high": FeatureInfo(8, 8), "low": FeatureInfo(8, 32), "boundary": FeatureInfo(4, 8)}
    with pytest.raises(UserError, match="maps 'high' and 'boundary' of one width, not 8 and 4"):
        create_head("boundary_attention", maps, 3)


class Broken(Head):
    def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int, *, depth: int) -> None:
        super().__init__(features, num_classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return features["high"]


class Nameless(Head):
    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__({}, num_classes)


@pytest.mark.parametrize("asks", [{"head": "pik"}, {"outputs": {"aux": Auxiliary("aux", weight=1, head="pik")}}])
def test_a_head_that_the_model_asks_for_and_nobody_has(asks: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in asks.items():
        monkeypatch.setattr(DDRNet, name, value)
    with pytest.raises(UnknownNameError, match=r"model 'ddrnet_23_slim': unknown head 'pik'\..* Known: .*conv"):
        create_model("ddrnet_23_slim", 5)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(UserError, match="head 'broken': decorate a class derived from Head"):
        register_head("broken")(torch.nn.Identity)  # type: ignore[type-var]
    with pytest.raises(UserError, match="head 'broken': Nameless's constructor must take features and num_classes"):
        register_head("broken")(Nameless)
    with pytest.raises(UserError, match=r"head 'broken': Head lacks `forward\(features\)`"):
        register_head("broken")(Head)
    with pytest.raises(UserError, match="head 'broken': write option 'depth' with a type"):
        register_head("broken")(Broken)
    with pytest.raises(UserError, match="head 'conv' is registered already"):
        register_head("conv")(ConvHead)
    assert "broken" not in list_heads()
