"""The contract of backbones: what every registered one keeps, and what is said of one that does not.

Nothing is registered here for good: what fails to register is not, and what registers would be in the lists of other
tests, so that the toy of test_toy_backbone.py has a process of its own.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import (
    Auxiliary,
    Backbone,
    FeatureInfo,
    check_contract,
    check_maps,
    create_backbone,
    list_models,
    register_backbone,
)
from tests.helpers.segmenters import narrow


@torch.no_grad()
@pytest.mark.parametrize("name", list_models())
def test_the_maps_are_what_they_say(name: str) -> None:
    options = {key: value for key, value in narrow(name).items() if key == "base_channels"}
    backbone = create_backbone(name, **options).eval()
    for height, width in ((1, 1), (33, 65), (64, 96)):
        maps = backbone(torch.randn(1, 3, height, width))
        assert maps.keys() == backbone.features.keys()
        for key, (channels, stride) in backbone.features.items():
            assert maps[key].shape == (1, channels, math.ceil(height / stride), math.ceil(width / stride))
            assert maps[key].isfinite().all()


class Plain(Backbone):
    head = "conv"

    def __init__(self, *, base_channels: int = 8) -> None:
        super().__init__()
        self.features = {"map": FeatureInfo(base_channels, 8)}

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"map": image}


class NoHead(Backbone):
    pass


class NoForward(Backbone):
    head = "conv"


class NoDefault(Plain):
    def __init__(self, *, depth: int) -> None:
        super().__init__()


class AttentionWithoutDefault(Plain):
    def __init__(self, *, attention: str) -> None:
        super().__init__()


def untold(base_channels: int = 8):  # type: ignore[no-untyped-def]
    return Plain()


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (NoHead, "model 'it': NoHead does not say which head stands on it; write `head = \"conv\"` in it"),
        (NoForward, r"model 'it': NoForward lacks `forward\(image\)`, which returns a dict of maps"),
        (NoDefault, "model 'it': write option 'depth' with a type"),
        (AttentionWithoutDefault, "model 'it': give `attention` a default, as in `attention: str = 'gfa"),
        (untold, "model 'it': decorate a class derived from Backbone, or a function that says which it returns"),
        (torch.nn.Conv2d, "model 'it': decorate a class derived from Backbone"),
    ],
)
def test_what_cannot_be_registered(build: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        register_backbone("it")(build)
    assert "it" not in list_models()


def test_a_taken_name() -> None:
    with pytest.raises(UserError, match="model 'ddrnet_23' is registered already; choose another name"):
        register_backbone("ddrnet_23")(Plain)


class NoMaps(Plain):
    def __init__(self) -> None:
        super().__init__()
        del self.features


class NoInfo(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.features = {"map": (8, 8)}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ({"main": Auxiliary("map", weight=1)}, "output 'main' needs another name: letters and digits, and not 'main'"),
        ({"a.b": Auxiliary("map", weight=1)}, "output 'a.b' needs another name"),
        ({"aux": Auxiliary("mop", weight=1)}, "output 'aux' reads the map 'mop'; there are map"),
        ({"aux": ("map", 1)}, r"write `outputs` of Plain as \{\"aux\": Auxiliary"),
        ([Auxiliary("map", weight=1)], "write `outputs` of Plain as"),
    ],
)
def test_outputs_that_cannot_be(outputs: Any, says: str) -> None:
    backbone = Plain()
    backbone.outputs = outputs
    with pytest.raises(UserError, match=f"model 'it': {says}"):
        check_contract("model 'it'", backbone, Plain)


class NoNumbers(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.features = {"map": FeatureInfo(8, 8.0)}  # type: ignore[arg-type]


class NoNames(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.features = [FeatureInfo(8, 8)]  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"weight": -1}, "weight=-1 must be at least 0; 0 switches the loss off"),
        ({"weight": math.nan}, "weight=nan must be at least 0"),
        ({"weight": 1, "channels": 0}, "channels=0 must be a whole number of at least 1; leave it out for one a class"),
    ],
)
def test_auxiliaries_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        Auxiliary("map", **options)


@pytest.mark.parametrize("cls", [NoMaps, NoInfo, NoNumbers, NoNames])
def test_a_backbone_without_maps(cls: type[Plain]) -> None:
    with pytest.raises(
        UserError, match=rf"model 'it': {cls.__name__} has no feature maps to name; set `self.features = "
    ):
        check_contract("model 'it'", cls(), cls)


@pytest.mark.parametrize(
    ("maps", "says"),
    [
        (torch.zeros(2, 8, 5, 4), "model 'it': forward returned a Tensor; return a dict of maps by name"),
        ({"other": torch.zeros(1)}, "model 'it': forward returned no map 'map', which `features` names; it returned o"),
        (
            {"map": torch.zeros(2, 8, 9, 8)},
            r"model 'it': map 'map' is \(2, 8, 9, 8\) for images of \(2, 3, 33, 32\), and 8 channels at stride 8 "
            r"would be \(2, 8, 5, 4\): correct forward, or self.features",
        ),
        ({"map": torch.zeros(2, 9, 5, 4)}, r"map 'map' is \(2, 9, 5, 4\) for"),
        ({"map": None}, "map 'map' is a NoneType for"),
    ],
)
def test_maps_that_are_not_what_is_said(maps: Any, says: str) -> None:
    check_maps("model 'it'", Plain().features, {"map": torch.zeros(2, 8, 5, 4)}, torch.zeros(2, 3, 33, 32))
    with pytest.raises(UserError, match=says):
        check_maps("model 'it'", Plain().features, maps, torch.zeros(2, 3, 33, 32))


def test_a_function_that_builds_another_class_than_it_says() -> None:
    with pytest.raises(UserError, match="model 'it': built a Plain, not a NoMaps; correct its return annotation"):
        check_contract("model 'it'", Plain(), NoMaps)
