"""FPN by a plain form of its equations, and the semantic head of Panoptic FPN by its layers."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.attention.insertion import insert, list_places
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.backbone import FeatureInfo
from rtseg.models.fpn import FPN
from rtseg.models.heads import create_head

FEATURES = {"c2": FeatureInfo(6, 4), "c3": FeatureInfo(8, 8), "c4": FeatureInfo(10, 16), "same": FeatureInfo(4, 16)}


def maps(features: Mapping[str, FeatureInfo], height: int, width: int) -> dict[str, Tensor]:
    return {
        name: torch.randn(2, channels, -(-height // stride), -(-width // stride))
        for name, (channels, stride) in features.items()
    }


def plain(fpn: Any, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lin et al., section 3."""
    c4 = fpn.lateral["p4"](x["c4"])
    c3 = fpn.lateral["p3"](x["c3"]) + F.interpolate(c4, size=x["c3"].shape[-2:], mode="nearest")
    c2 = fpn.lateral["p2"](x["c2"]) + F.interpolate(c3, size=x["c2"].shape[-2:], mode="nearest")
    return {"p2": fpn.output["p2"](c2), "p3": fpn.output["p3"](c3), "p4": fpn.output["p4"](c4)}


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (1, 1)])
def test_levels_are_those_of_the_equations(size: tuple[int, int]) -> None:
    fpn, x = FPN(FEATURES, 12, extra_level=True), maps(FEATURES, *size)
    levels, expected = fpn(x), plain(fpn, x)
    assert fpn.levels == {f"p{n}": FeatureInfo(12, 2**n) for n in (2, 3, 4, 5)}
    assert all(torch.equal(levels[name], value) for name, value in expected.items())
    assert torch.equal(levels["p5"], levels["p4"][:, :, ::2, ::2])
    assert list(levels) == ["p2", "p3", "p4", "p5"]


@torch.no_grad()
def test_what_is_inserted_stands_behind_the_level_and_before_the_extra_one() -> None:
    fpn, x = FPN(FEATURES, 8, extra_level=True), maps(FEATURES, 64, 64)
    before = fpn(x)
    assert list(list_places(fpn)) == ["fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5"]
    insert(fpn, {"fpn.p4": ["fa:heads=1:basis=4"]})
    assert all(torch.equal(value, before[name]) for name, value in fpn(x).items())
    for parameter in fpn.inserted.parameters():
        torch.nn.init.normal_(parameter)
    after = fpn(x)
    assert torch.equal(after["p4"], fpn.inserted["p4"](before["p4"]))
    assert torch.equal(after["p5"], after["p4"][:, :, ::2, ::2])
    assert torch.equal(after["p3"], before["p3"])  # the way down is not that of the levels


def test_the_semantic_head_has_the_layers_of_panoptic_fpn() -> None:
    features = {f"c{n}": FeatureInfo(2 ** (n + 6), 2**n) for n in (1, 2, 3, 4, 5)}
    head: Any = create_head("semantic_fpn", features, 19)
    # Kirillov et al., section 3: 1, 1, 2 and 3 of 3x3, GroupNorm, ReLU; 256 channels in, 128 out; none of stride 2.
    assert {level: len(steps) for level, steps in head.steps.items()} == {"p2": 1, "p3": 1, "p4": 2, "p5": 3}
    assert head.stride == 4
    fpn = sum(2 ** (n + 6) * 256 + 256 + 9 * 256 * 256 + 256 for n in (2, 3, 4, 5))
    steps = 4 * 9 * 256 * 128 + 3 * 9 * 128 * 128 + 7 * 2 * 128
    assert sum(p.numel() for p in head.parameters()) == fpn + steps + 128 * 19 + 19
    assert all(step[1].num_groups == 32 for steps in head.steps.values() for step in steps)


@torch.no_grad()
def test_the_semantic_head_adds_all_levels_at_the_finest_size() -> None:
    head: Any = create_head("semantic_fpn", FEATURES, 3, fpn_channels=8, head_channels=8).eval()
    x = maps(FEATURES, 34, 50)
    levels = head.fpn(x)
    sizes = {name: level.shape[-2:] for name, level in levels.items()}

    def up(value: Tensor, level: str) -> Tensor:
        return F.interpolate(value, size=sizes[level], mode="bilinear", align_corners=False)

    p3 = up(head.steps["p3"][0](levels["p3"]), "p2")
    p4 = up(head.steps["p4"][1](up(head.steps["p4"][0](levels["p4"]), "p3")), "p2")
    expected = head.classify(head.steps["p2"][0](levels["p2"]) + p3 + p4)
    assert torch.equal(head(x), expected)


def test_a_head_too_narrow_and_a_fine_map_alone() -> None:
    with pytest.raises(UserError, match="head_channels=1 must be at least 2"):
        create_head("semantic_fpn", FEATURES, 3, head_channels=1)
    fine: Any = create_head("semantic_fpn", {"fine": FeatureInfo(4, 2)}, 3, fpn_channels=4, head_channels=4)
    assert fine.stride == 2


def test_it_stands_on_other_backbones_and_takes_attention() -> None:
    options: dict[str, Any] = {"base_channels": 8, "fpn_channels": 8, "head_channels": 8}
    network = create_model("ddrnet_23_slim", 5, head="semantic_fpn", insert={"fpn.*": "fa:heads=1:basis=4"}, **options)
    assert list(network.card.insert) == ["fpn.p3", "fpn.p6"]
    assert network.eval()(torch.zeros(1, 3, 33, 70)).shape == (1, 5, 33, 70)
