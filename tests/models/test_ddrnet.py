"""DDRNet: counts of the official networks, the exchange between the branches, what it refuses, saving and loading."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rtseg
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model
from rtseg.models.backbone import backbone_options, choose_attention, create_backbone, list_models
from rtseg.models.ddrnet import BilateralFusion, DDRNet
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import differences


def bn(channels: int) -> int:
    return 2 * channels


def conv(in_channels: int, out_channels: int, kernel: int) -> int:
    """With its BatchNorm."""
    return kernel**2 * in_channels * out_channels + bn(out_channels)


def basic(in_channels: int, out_channels: int, *, halves: bool) -> int:
    """Two blocks of two 3x3."""
    shortcut = conv(in_channels, out_channels, 1) if halves else 0
    return conv(in_channels, out_channels, 3) + 3 * conv(out_channels, out_channels, 3) + shortcut


def bottleneck(in_channels: int, channels: int) -> int:
    own = conv(in_channels, channels, 1) + conv(channels, channels, 3) + conv(channels, 2 * channels, 1)
    return own + conv(in_channels, 2 * channels, 1)


def trunk(c: int) -> int:
    """The official layers, one a line; what they are called there."""
    return (
        conv(3, c, 3) + c + conv(c, c, 3) + c  # conv1, biased
        + basic(c, c, halves=False)  # layer1
        + basic(c, 2 * c, halves=True)  # layer2
        + basic(2 * c, 4 * c, halves=True)  # layer3
        + basic(4 * c, 8 * c, halves=True)  # layer4
        + conv(4 * c, 2 * c, 1)  # compression3
        + conv(8 * c, 2 * c, 1)  # compression4
        + conv(2 * c, 4 * c, 3)  # down3
        + conv(2 * c, 4 * c, 3) + conv(4 * c, 8 * c, 3)  # down4
        + 2 * basic(2 * c, 2 * c, halves=False)  # layer3_, layer4_
        + bottleneck(2 * c, 2 * c)  # layer5_
        + bottleneck(8 * c, 8 * c)  # layer5
    )  # fmt: skip


def heads(c: int, num_classes: int) -> tuple[int, int]:
    """spp and final_layer; seghead_extra."""
    low, high, p, hidden = 16 * c, 4 * c, 128, 2 * c
    dappm = 5 * (bn(low) + low * p) + 4 * (bn(p) + 9 * p * p) + bn(5 * p) + 5 * p * high + bn(low) + low * high
    classify = bn(hidden) + hidden * num_classes + num_classes
    return dappm + bn(high) + 9 * high * hidden + classify, bn(2 * c) + 9 * 2 * c * hidden + classify


def numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def gmacs(module: nn.Module, size: tuple[int, int]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, 3, *size, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize(
    ("model", "c", "inference", "training", "paper_millions", "paper_gmacs"),
    [
        ("ddrnet_23_slim", 32, 5_695_987, 5_734_342, 5.7, 36.3),
        ("ddrnet_23", 64, 20_148_947, 20_299_366, 20.1, 143.1),
    ],
)
def test_parameters_and_multiply_adds_of_the_official_networks(
    model: str, c: int, inference: int, training: int, paper_millions: float, paper_gmacs: float
) -> None:
    """By hand, layer by layer, and as the paper rounds them for Cityscapes, 1024x2048."""
    with torch.device("meta"):
        network = create_model(model, 19).eval()
    head, aux_head = heads(c, 19)
    assert numel(network.backbone) == trunk(c)
    assert numel(network.head) == head
    assert numel(network.aux_head) == aux_head
    assert (trunk(c) + head, trunk(c) + head + aux_head) == (inference, training)
    assert round(inference / 1e6, 1) == paper_millions
    assert round(gmacs(network, (1024, 2048)), 1) == paper_gmacs


@pytest.mark.parametrize(
    ("model", "c", "width", "parameters", "classifier_gmacs"),
    [("ddrnet_23_slim", 32, 1024, 7_574_664, 0.9728), ("ddrnet_23", 64, 2048, 28_216_616, 3.8676)],
)
def test_the_trunk_is_that_of_the_official_classifier(
    model: str, c: int, width: int, parameters: int, classifier_gmacs: float
) -> None:
    """What the authors' ImageNet network has beyond it: two strided 3x3 from high to low, a 1x1, a linear layer."""
    with torch.device("meta"):
        backbone = create_backbone(model, low_stride=32).eval()
    down5 = conv(4 * c, 8 * c, 3) + conv(8 * c, 16 * c, 3)
    assert numel(backbone) + down5 + conv(16 * c, width, 1) + 1000 * width + 1000 == parameters
    macs = 9 * 4 * c * 8 * c * 14**2 + 9 * 8 * c * 16 * c * 7**2 + 16 * c * width * 7**2 + 1000 * width
    assert gmacs(backbone, (224, 224)) + macs / 1e9 == pytest.approx(classifier_gmacs, abs=5e-5)


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 150), width=st.integers(1, 150), low_stride=st.sampled_from([32, 64]))
def test_feature_maps_are_what_they_say_at_any_size(height: int, width: int, low_stride: int) -> None:
    backbone = create_backbone("ddrnet_23_slim", base_channels=8, low_stride=low_stride).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, height, width))
    assert features.keys() == backbone.features.keys() == {"high", "low", "aux"}
    assert backbone.features["low"].stride == low_stride
    for name, info in backbone.features.items():
        rows, columns = math.ceil(height / info.stride), math.ceil(width / info.stride)
        assert features[name].shape == (1, info.channels, rows, columns)
        assert features[name].isfinite().all()


@torch.no_grad()
def test_each_branch_gets_the_other_as_it_came_in() -> None:
    fusion = BilateralFusion(3, 6, 12).eval()
    for module in fusion.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
    h, low = torch.randn(2, 3, 9, 14), torch.randn(2, 12, 3, 4)
    high, deep = fusion(h, low)
    up = F.interpolate(fusion.low_to_high(low.relu()), size=(9, 14), mode="bilinear", align_corners=False)
    torch.testing.assert_close(high - h, up)
    first, second = fusion.high_to_low[:3], fusion.high_to_low[3:]
    assert [type(layer) for layer in first] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in second] == [nn.Conv2d, nn.BatchNorm2d]
    torch.testing.assert_close(deep - low, second(first(h.relu())))


@torch.no_grad()
def test_the_trunk_is_the_papers_figure() -> None:
    """Stages rectify what they take; the exchanges take what both branches made of it."""
    net: Any = create_backbone("ddrnet_23_slim", base_channels=8).eval()
    image = torch.randn(1, 3, 70, 90)
    x2 = net.stage2(net.stage1(net.stem(image)).relu()).relu()
    high, low = net.stage3_high(x2), net.stage3(x2)
    high, low = net.fusion3(high, low)
    features = net(image)
    torch.testing.assert_close(features["aux"], high)
    high, low = net.fusion4(net.stage4_high(high.relu()), net.stage4(low.relu()))
    torch.testing.assert_close(features["high"], net.stage5_high(high.relu()))
    torch.testing.assert_close(features["low"], net.stage5(low.relu()))
    assert (features["aux"] < 0).any()
    assert (features["high"] < 0).any()


@torch.no_grad()
def test_the_head_adds_what_rtformers_concatenates() -> None:
    network: Any = create_model("ddrnet_23_slim", 5, base_channels=8, spp_channels=16, head_channels=6).eval()
    features = network.backbone(torch.randn(1, 3, 70, 90))
    context = network.head.context(features["low"])
    up = F.interpolate(context, size=(9, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network.head(features), network.head.classifier({"joined": features["high"] + up}))
    assert network.head.classifier.hidden[2].out_channels == network.aux_head.hidden[2].out_channels == 6


# --- a network without attention


def test_it_needs_and_takes_no_attention() -> None:
    assert {"ddrnet_23", "ddrnet_23_slim"} <= set(list_models())
    assert backbone_options("ddrnet_23") == {"base_channels": 64, "low_stride": 64}
    assert isinstance(create_backbone("ddrnet_23_slim", base_channels=8), DDRNet)
    card = ModelCard("ddrnet_23_slim", "none", 5, {"base_channels": 8}, head="dual_resolution")
    assert rtseg.create_model("ddrnet_23_slim", 5, base_channels=8).card == card
    assert rtseg.create_model("ddrnet_23_slim", 5, attention="none", base_channels=8).card == card
    assert choose_attention("rtformer_slim", None) == choose_attention("rtformer_base", None) == "gfa+ca"
    assert create_model("rtformer_slim", 5, base_channels=8).card.attention == "gfa+ca"


@pytest.mark.parametrize("attention", ["gfa", "gfa+ca", "non", ""])
def test_an_attention_is_refused_with_the_repair(attention: str) -> None:
    message = (
        rf"model 'ddrnet_23_slim' has no attention to choose, so it cannot have '{re.escape(attention)}': leave "
        r"attention out \(null in place of a config's\), or take one of the models rtformer_base, rtformer_slim"
    )
    with pytest.raises(UserError, match=message):
        create_model("ddrnet_23_slim", 19, attention=attention)
    with pytest.raises(UserError, match=message):
        create_backbone("ddrnet_23_slim", attention=attention)
    with pytest.raises(UserError, match=message):
        Segmenter(ModelCard("ddrnet_23_slim", attention, 19))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cross_size": 8}, "model 'ddrnet_23_slim' has no option 'cross_size'.* Known: base_channels, low_stride"),
        ({"base_channels": 0}, "base_channels=0 must be a whole number of at least 1"),
        ({"low_stride": 16}, "low_stride=16 must be 64, as in DDRNet's segmentation, or 32"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone("ddrnet_23_slim", **options)


def test_differences() -> None:
    card = ModelCard("ddrnet_23_slim", "none", 5)
    assert differences(card, ModelCard("ddrnet_23_slim", "none", 7, {"base_channels": 32})) == {}
    other = ModelCard("ddrnet_23_slim", "none", 5, {"base_channels": 16})
    assert differences(card, other) == {"options": ({"base_channels": 32}, {"base_channels": 16})}
    assert differences(card, ModelCard("rtformer_slim", "sa", 5)) == {"model": ("ddrnet_23_slim", "rtformer_slim")}
    with pytest.raises(UserError, match="has no attention to choose"):
        differences(card, ModelCard("ddrnet_23_slim", "gfa", 5))


@torch.no_grad()
def test_a_saved_network_comes_back_the_same(tmp_path: Path) -> None:
    network = create_model("ddrnet_23_slim", 5, base_channels=8, spp_channels=16)
    network.train().forward_train(torch.randn(2, 3, 64, 64))
    network.save_pretrained(tmp_path / "saved")
    back = Segmenter.from_pretrained(tmp_path / "saved")
    assert back.card == network.card
    assert "# ddrnet_23_slim, attention none, 5 classes\n" in (tmp_path / "saved" / "README.md").read_text()
    image = torch.randn(1, 3, 33, 40)
    assert torch.equal(back(image), network.eval()(image))
    assert rtseg.load(tmp_path / "saved", device="cpu")(torch.zeros(40, 50, 3).byte().numpy()).shape == (40, 50)
