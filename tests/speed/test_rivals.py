"""Networks of other libraries: what they give is what the library itself upsamples, and the facts beside them hold."""

import json
import math
import pickle
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.deploy.class_map import class_map
from rtseg.deploy.fuse import deploy
from rtseg.errors import UserError
from rtseg.speed.rivals import Rival, create_rival, get_rival, list_rivals
from tests.helpers.folding import unfolded

CLASSES = 7
every_rival = pytest.mark.parametrize("name", list_rivals())


def create(name: str, num_classes: int = CLASSES) -> Rival:
    """The test is skipped where the library is missing."""
    pytest.importorskip(get_rival(name).library)
    return create_rival(name, num_classes)


def whole(name: str, network: Any, image: Tensor) -> Tensor:
    """What a user of the library gets for the same weights: logits at the size of the image."""
    if name.startswith("segformer"):
        return F.interpolate(network(image).logits, size=image.shape[-2:], mode="bilinear", align_corners=False)
    if not name.startswith("smp"):
        return network(image)["out"]
    smp = pytest.importorskip("segmentation_models_pytorch")
    own = {"smp_fpn_mobilenet_v2": smp.FPN, "smp_deeplabv3plus_mobilenet_v2": smp.DeepLabV3Plus}[name]
    library = own("mobilenet_v2", encoder_weights=None, classes=CLASSES).eval()
    library.load_state_dict(network.state_dict())
    return library(image)


def test_names() -> None:
    assert list_rivals() == [
        "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "segformer_b0", "segformer_b1",
        "smp_deeplabv3plus_mobilenet_v2", "smp_fpn_mobilenet_v2",
    ]  # fmt: skip


@every_rival
@torch.no_grad()
def test_upsampled_logits_are_the_librarys_own_output(name: str) -> None:
    rival, network = get_rival(name), create(name)
    sizes = [(64, 96)] if rival.multiple > 1 else [(64, 96), (65, 33)]
    assert not any(module.training for module in network.modules())
    for size in sizes:
        image = torch.randn(2, 3, *size)
        logits = network(image)
        assert logits.shape == (2, CLASSES, *(math.ceil(side / rival.stride) for side in size))
        upsampled = F.interpolate(logits, size=size, mode="bilinear", align_corners=rival.align_corners)
        expected = whole(name, network.network, image)
        assert expected.shape == (2, CLASSES, *size)
        assert expected.std() > 0
        torch.testing.assert_close(upsampled, expected, rtol=1e-5, atol=1e-6)


@every_rival
def test_nothing_that_folds_is_left_but_what_pools_to_one_pixel(name: str) -> None:
    """ASPP's pooling is a sequence with a forward of its own, in both libraries; its map has one pixel."""
    pooling = {"deeplabv3_mobilenet_v3_large": "classifier.0", "smp_deeplabv3plus_mobilenet_v2": "decoder.aspp.0"}
    left = [f"network.{pooling[name]}.convs.4.2"] if name in pooling else []
    assert unfolded(deploy(create(name)), torch.randn(1, 3, 64, 96)) == left


@torch.no_grad()
def test_segformers_class_map_is_the_librarys() -> None:
    network, image = create("segformer_b0"), torch.randn(2, 3, 64, 96)
    processor = pytest.importorskip("transformers").SegformerImageProcessor()
    logits = network(image)
    maps = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(64, 96)] * 2)
    assert len(torch.stack(maps).unique()) > 1
    assert torch.equal(class_map(logits, (64, 96)), torch.stack(maps).to(torch.uint8))


@pytest.mark.parametrize(
    ("name", "num_classes", "side", "parameters", "gmacs"),
    [
        # The paper: 3.8 M and 8.4 G, 13.7 M and 15.9 G.
        ("segformer_b0", 150, 512, 3_752_694, 8.388),
        ("segformer_b1", 150, 512, 13_715_798, 15.878),
        # torchvision's documentation, which counts an auxiliary head in the last: 3x3 from 40 to 10 channels,
        # BatchNorm, 1x1 to 21 classes: 3,600 + 20 + 231 parameters and (3,600 + 210) * 65 * 65 multiply-adds.
        ("lraspp_mobilenet_v3_large", 21, 520, 3_221_538, 2.086),
        ("deeplabv3_mobilenet_v3_large", 21, 520, 11_029_328 - 3_851, 10.452 - 0.016),
    ],
)
@torch.no_grad()
def test_parameters_and_multiply_adds_are_the_published_ones(
    name: str, num_classes: int, side: int, parameters: int, gmacs: float
) -> None:
    network = create(name, num_classes)
    assert sum(p.numel() for p in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter:
        network.to("meta")(torch.empty(1, 3, side, side, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=6e-4)


@every_rival
def test_facts_are_plain_and_complete(name: str) -> None:
    rival = get_rival(name)
    pytest.importorskip(rival.library)
    facts = rival.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["name"] == name
    assert facts["version"]
    assert facts["paper"].startswith("https://arxiv.org/abs/")
    assert facts["licence"] in ("Apache-2.0", "MIT", "BSD-3-Clause")


def test_it_is_built_anew_in_another_process() -> None:
    """Where memory is measured."""
    network = create("lraspp_mobilenet_v3_large")
    again = pickle.loads(pickle.dumps(network.recipe()))()
    assert (type(again), again.card) == (type(network), network.card)
    assert network.facts()["rival"]["name"] == "lraspp_mobilenet_v3_large"


# --- bad input


def test_an_unknown_name_meets_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown rival 'segformer_b2'. Did you mean 'segformer_b[01]'\? Known: deep"):
        create_rival("segformer_b2", CLASSES)


@pytest.mark.parametrize("num_classes", [0, -1, "19", 19.0, True])
def test_no_number_of_classes_is_refused(num_classes: Any) -> None:
    with pytest.raises(UserError, match=f"num_classes={num_classes!r} must be a whole number of at least 1"):
        create_rival("lraspp_mobilenet_v3_large", num_classes)


@every_rival
def test_a_missing_library_is_named_with_the_line_that_installs_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, get_rival(name).module, None)
    with pytest.raises(UserError, match=f"{get_rival(name).module} is missing here .*pip install 'rtseg\\[rivals\\]'"):
        create_rival(name, CLASSES)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("smp_fpn_mobilenet_v2", (64, 80), "smp_fpn_mobilenet_v2: width=80 must be a multiple of 32, such as 64 or 96"),
        ("smp_deeplabv3plus_mobilenet_v2", (72, 64), "height=72 must be a multiple of 16"),
        ("segformer_b0", (16, 64), "segformer_b0: height=16 must be at least 32"),
    ],
)
def test_sizes_that_a_network_does_not_take_are_refused(name: str, size: tuple[int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        get_rival(name)(nn.Identity(), CLASSES)(torch.zeros(1, 3, *size))
