"""Segmenters: properties of every model with every attention, weights that do not fit, saving and loading."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rtseg
from rtseg.attention import list_attentions
from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import FeatureInfo, swappable_models
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import differences
from rtseg.training.losses import LossConfig, TotalLoss
from tests.helpers.segmenters import PAIRS, every_network, is_legal, randomise_statistics, small

LEGAL = [f"{low}+{high}" for low in list_attentions() for high in list_attentions() if is_legal(f"{low}+{high}")]
NETWORKS = every_network(PAIRS)
on_every_network = pytest.mark.parametrize(("model", "attention"), NETWORKS)


# --- properties of all


def test_pairs_hold_every_mechanism() -> None:
    assert {part for pair in PAIRS for part in pair.split("+")} == set(list_attentions())
    assert "gfa+ca" in PAIRS


def test_every_mechanism_goes_with_every_other_but_ca_in_the_low_branch() -> None:
    names = set(list_attentions())
    assert set(LEGAL) == {f"{low}+{high}" for low in names - {"ca"} for high in names}
    assert len(LEGAL) >= 56


@on_every_network
@torch.no_grad()
def test_inference_at_any_size(model: str, attention: str) -> None:
    network = small(model, attention).eval()
    randomise_statistics(network)
    for size in ((1, 1), (33, 65)):
        image = torch.randn(2, 3, *size)
        logits = network(image)
        assert logits.shape == (2, 5, *size)
        assert logits.isfinite().all()
        assert network.logits(image).shape == (2, 5, *(-(-side // network.head.stride) for side in size))
        outputs = network.forward_train(image)
        auxiliary = {name: output for name, output in network.backbone.outputs.items() if output.map is not None}
        assert list(outputs) == ["main", *auxiliary]
        assert torch.equal(outputs["main"], logits)
        for name, output in auxiliary.items():
            assert outputs[name].shape == (2, output.channels or 5, *size)
        torch.testing.assert_close(logits[:1], network(image[:1]), rtol=1e-4, atol=1e-4)


@on_every_network
@torch.no_grad()
def test_memory_layout_does_not_matter(model: str, attention: str) -> None:
    network, image = small(model, attention).eval(), torch.randn(2, 3, 33, 47)
    randomise_statistics(network)
    logits, last = network(image), image.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last), logits, rtol=1e-4, atol=1e-4)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(last), logits, rtol=1e-4, atol=1e-4)


# True gradient zero: constants before BatchNorm or before softmax over space; rounding noise arrives, or nothing.
NOISE = (
    "stem.0.bias", "stem.3.bias", "block5.low_mlp.conv2.bias", "block5.high_mlp.conv2.bias", "norm.bias",
    *(f"{stage}.{path}.1.bias" for stage in ("stage5", "stage5_high") for path in ("expand", "shortcut")),
)  # fmt: skip


@pytest.mark.parametrize(
    ("model", "attention"),
    [("rtformer_slim", pair) for pair in LEGAL] + [row for row in NETWORKS if row.values[0] != "rtformer_slim"],
)
def test_training_steps_reach_every_parameter_and_keep_the_size(model: str, attention: str) -> None:
    options: dict[str, Any] = {"injection": (True, True), "drop_path": 0.0} if model in swappable_models() else {}
    network = small(model, attention, **options).train()
    optimizer = torch.optim.Adam(network.parameters())  # without weight decay, which moves what has no gradient, too
    total = TotalLoss(network.backbone.outputs, LossConfig())
    for size in ((128, 160), (97, 131)):
        optimizer.zero_grad()
        before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
        areas = torch.randint(0, 5, (2, 5, 6)).repeat_interleave(32, 1).repeat_interleave(32, 2)
        mask = areas[:, : size[0], : size[1]]  # areas have boundaries, and pixels that are at none
        total(network.forward_train(torch.randn(2, 3, *size)), mask).backward()
        optimizer.step()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.isfinite().all(), name
            moved = parameter.grad.any() and not torch.equal(parameter, before[name])
            assert moved or name.endswith(NOISE), name


@on_every_network
def test_a_seed_decides_the_weights(model: str, attention: str) -> None:
    def create(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return small(model, attention).state_dict()

    first, again, other = create(1), create(1), create(2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@torch.no_grad()
def test_drop_path_is_off_in_evaluation() -> None:
    network, image = small(drop_path=0.9).eval(), torch.randn(2, 3, 32, 32)
    without = small(drop_path=0.0).eval()
    without.load_weights(network.state_dict(), source="here")
    assert torch.equal(network(image), network(image))
    assert torch.equal(network(image), without(image))


def test_the_library_offers_the_network() -> None:
    assert rtseg.list_models() == list_models()
    network: Any = rtseg.create_model("rtformer_slim", 4, attention="sa", base_channels=8, head_channels=6)
    card = ModelCard("rtformer_slim", "sa", 4, {"base_channels": 8, "head_channels": 6}, head="dual_resolution")
    assert network.card == card
    assert network.head.classifier.hidden[2].out_channels == 12
    assert network.aux_head.hidden[2].out_channels == 6


# --- bad input


@pytest.mark.parametrize(
    ("name", "num_classes", "options", "message"),
    [
        ("rtformer_slm", 5, {}, r"unknown model 'rtformer_slm'. Did you mean 'rtformer_slim'\? Known: .*rtformer_base"),
        (None, 5, {}, "unknown model 'None'"),
        ("rtformer_slim", 0, {}, "num_classes=0 must be a whole number of at least 1"),
        ("rtformer_slim", "5", {}, "num_classes='5' must be a whole number of at least 1"),
        ("rtformer_slim", 5, {"attention": "gfa+cca"}, r"unknown attention 'cca'. Did you mean 'ca'\?"),
        ("rtformer_slim", 5, {"attention": 3}, "attention=3 must be a text such as 'gfa[+]ca'"),
        ("rtformer_slim", 5, {"attention": "none"}, "unknown attention 'none'"),
        ("rtformer_slim", 5, {"attention": "ca"}, "it can stand only in the high one"),
        ("rtformer_slim", 5, {"attention": "sa:heads=3"}, "heads=3 does not divide 256 channels"),
        ("rtformer_slim", 5, {"head_chanels": 8}, r"no option 'head_chanels'. Did you mean 'head_channels'\?"),
        ("rtformer_slim", 5, {"head_channels": 0}, "head_channels=0 must be a whole number of at least 1"),
        ("rtformer_slim", 5, {"spp_channels": "128"}, "spp_channels='128' must be a whole number of at least 1"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(name: str, num_classes: int, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_model(name, num_classes, **options)


def test_a_batch_of_one_is_refused_in_training_with_the_repair() -> None:
    network, image = small().train(), torch.randn(1, 3, 64, 64)
    for call in (network.forward_train, network, network.logits):
        with pytest.raises(UserError, match=r"batch of one cannot be trained.*data.batch_size.*call .eval\(\)"):
            call(image)
    assert network.eval()(image).shape == (1, 5, 64, 64)
    nn.SyncBatchNorm.convert_sync_batchnorm(network).train()
    network._features(
        torch.randn(2, 3, 64, 64)
    )  # other processes bring the second value; nothing is refused beforehand


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
        torch.zeros(3, 8, 8),
        torch.zeros(1, 8, 8, 3),
        torch.zeros(1, 1, 8, 8),
        torch.zeros(1, 3, 8, 8, dtype=torch.int64),
    ],
)
def test_what_is_no_image_batch_is_refused(image: Tensor) -> None:
    with pytest.raises(UserError, match=r"an image batch is \(B, 3, H, W\) in normalised floats, not \(.*rtseg.load"):
        small().eval()(image)


def test_a_map_that_the_backbone_names_and_does_not_return() -> None:
    network = small("ddrnet_23_slim", None).eval()
    network.backbone.features = {**network.backbone.features, "c6": FeatureInfo(8, 64)}
    words = "model 'ddrnet_23_slim': forward returned no map 'c6', which `features` names; it returned high, low, aux"
    with pytest.raises(UserError, match=words):
        network(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        ({"num_classes": 7}, ["aux_head.classify.2.bias (7,) for (5,)", "5 classes"]),
        ({"attention": "sa"}, ["missing (backbone.block4.high_attention.norm.", "unknown (", "attention 'gfa+ca'"]),
        ({"base_channels": 16}, ["235 of another shape (aux_head.classify.0.bias (32,) for (16,), "]),
        ({"injection": (True, True)}, ["unknown (backbone.block5.high_to_low.0.0.bias, "]),
    ],
)
def test_weights_of_another_network_are_refused(other: dict, parts: list[str]) -> None:
    network = small()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(UserError) as error:
        network.load_weights(small(**other).state_dict(), source="other.ckpt")
    for part in ("the weights in other.ckpt do not fit rtformer_slim", "Give the attention, num_classes", *parts):
        assert part in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("model", "first", "second", "kinds"),
    [
        ("rtformer_slim", ("sa", {}), ("sa+sa:heads=2", {}), set()),
        ("rtformer_slim", ("gfa+ca", {}), ("gfa+ca:cross_size=8", {"drop_path": 0.1}), set()),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca:cross_size=12", {}), set()),
        ("rtformer_base", ("gfa+ca:cross_size=8", {}), ("gfa+ca:cross_size=8", {"cross_size": 8}), set()),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca:cross_size=8", {}), {"attention"}),
        ("rtformer_base", ("gfa+ca", {}), ("gfa+ca", {"cross_size": 8}), {"options"}),
        ("rtformer_slim", ("gfa+ca", {}), ("gfa", {}), {"attention"}),
        ("rtformer_slim", ("gfa", {"injection": [True, True]}), ("gfa", {}), {"options"}),
    ],
)
def test_differences_are_of_the_network_not_of_the_spelling(
    model: str, first: tuple[str, dict], second: tuple[str, dict], kinds: set[str]
) -> None:
    one, other = (ModelCard(model, attention, 5, options) for attention, options in (first, second))
    assert differences(one, other).keys() == kinds
    assert differences(other, one).keys() == kinds
