"""RTFormer's structure: parameters, multiply-adds, feature maps, options, initial values. Numbers: test_golden.py."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.attention.cross_resolution import CrossResolutionAttention
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.backbone import backbone_options, create_backbone
from rtseg.models.paddle import OFFICIAL_VARIANTS
from rtseg.models.rtformer import RTFormer


@pytest.mark.parametrize(
    ("model", "dataset", "num_classes", "training", "inference", "gmacs"),
    [
        ("rtformer_slim", "ade20k", 150, 5_059_788, 5_012_918, 4.561),
        ("rtformer_base", "ade20k", 150, 17_966_956, 17_799_638, 17.531),
        ("rtformer_slim", "cityscapes", 19, 5_403_398, 5_365_043, 4.732),
        ("rtformer_base", "cityscapes", 19, 17_916_390, 17_765_971, 17.394),
    ],
)
def test_parameters_and_multiply_adds_of_the_official_networks(
    model: str, dataset: str, num_classes: int, training: int, inference: int, gmacs: float
) -> None:
    with torch.device("meta"):
        segmenter = create_model(model, num_classes, **OFFICIAL_VARIANTS[model, dataset]).eval()
        image = torch.empty(1, 3, 512, 512)
    assert sum(p.numel() for p in segmenter.parameters()) == training
    assert sum(p.numel() for name, p in segmenter.named_parameters() if not name.startswith("aux_head.")) == inference
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        segmenter(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=6e-4)


@pytest.mark.parametrize("model", ["rtformer_slim", "rtformer_base"])
def test_the_defaults_are_the_ade20k_variant(model: str) -> None:
    defaults = backbone_options(model)
    assert defaults.pop("base_channels") == {"rtformer_slim": 32, "rtformer_base": 64}[model]
    assert defaults == OFFICIAL_VARIANTS[model, "ade20k"]


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 130), width=st.integers(1, 130))
def test_feature_maps_are_what_they_say_at_any_size(height: int, width: int) -> None:
    backbone = create_backbone("rtformer_slim", base_channels=8).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, height, width))
    assert features.keys() == backbone.features.keys() == {"high", "low", "aux"}
    for name, info in backbone.features.items():
        rows, columns = math.ceil(height / info.stride), math.ceil(width / info.stride)
        assert features[name].shape == (1, info.channels, rows, columns)
        assert features[name].isfinite().all()
    assert (features["aux"] >= 0).all()
    assert (features["high"] < 0).any() or height * width < 64


@pytest.mark.parametrize("injection", [(True, True), (True, False), (False, False)])
def test_injection_is_chosen_block_by_block(injection: tuple[bool, bool]) -> None:
    backbone = create_backbone("rtformer_slim", base_channels=8, injection=injection)
    assert tuple(backbone.get_submodule(name).high_to_low is not None for name in ("block4", "block5")) == injection


def test_cross_size_is_the_attentions_own_or_else_the_models() -> None:
    def sizes(attention: str, **options: int) -> tuple[Any, ...]:
        backbone = create_backbone("rtformer_slim", attention=attention, base_channels=8, **options)
        attentions = [module for module in backbone.modules() if isinstance(module, CrossResolutionAttention)]
        return tuple(attention.cross_size for attention in attentions)

    assert sizes("gfa+ca") == (8, 8)
    assert sizes("gfa+ca", cross_size=12) == (12, 12)
    assert sizes("gfa+ca:cross_size=4", cross_size=12) == (4, 4)


def test_the_high_branch_sees_what_its_block_made_of_the_low_one() -> None:
    """Stepped, not side by side: low first, then high with the new low, then the injection of the new high."""
    block: Any = create_backbone("rtformer_slim", base_channels=8, drop_path=0.0).get_submodule("block4").eval()
    seen: dict[str, Tensor] = {}
    block.low_to_high.register_forward_hook(lambda _, inputs, __: seen.update(low=inputs[0].clone()))
    block.high_attention.register_forward_hook(lambda _, inputs, __: seen.update(context=inputs[1].clone()))
    block.high_to_low.register_forward_hook(lambda _, inputs, output: seen.update(high=inputs[0].clone(), back=output))
    with torch.no_grad():
        high, low = block(torch.rand(1, 16, 12, 10), torch.rand(1, 32, 6, 5))
    assert low.shape == (1, 64, 3, 3)
    assert torch.equal(seen["low"], seen["context"])
    assert torch.equal(seen["high"], high)
    assert torch.equal(low, seen["low"] + seen["back"])


def test_drop_path_drops_samples_in_training_alone() -> None:
    block = create_backbone("rtformer_slim", base_channels=8, drop_path=0.5).get_submodule("block5")
    norms = [module for module in block.modules() if isinstance(module, nn.BatchNorm2d)]
    h, low = torch.rand(1, 16, 8, 8).expand(8, -1, -1, -1), torch.rand(1, 64, 2, 2).expand(8, -1, -1, -1)
    block.train()
    for norm in norms:  # statistics of the batch would differ no less
        norm.eval()
    with torch.no_grad():
        dropped, _ = block(h, low)
        kept, _ = block.eval()(h, low)
    assert len({tuple(sample.flatten()[:8].tolist()) for sample in dropped}) > 2
    torch.testing.assert_close(kept, kept[:1].expand_as(kept))


def test_initial_values_are_the_references() -> None:
    segmenter = create_model("rtformer_slim", 19)
    for name, module in segmenter.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert module.bias.abs().max() == 0
            assert module.momentum == 0.1
            assert module.eps == (1e-6 if name.endswith("mlp.norm") else 1e-5)
        elif isinstance(module, nn.Conv2d):
            if module.bias is not None:
                assert module.bias.abs().max() == 0
            if "attention" not in name:
                expected = math.sqrt(2 / module.weight[0].numel())
                spread = 5 / math.sqrt(2 * module.weight.numel())  # five standard errors of a standard deviation
                assert module.weight.std().item() == pytest.approx(expected, rel=spread), name
    block: Any = segmenter.backbone.get_submodule("block4")
    gfa, ca = block.low_attention, block.high_attention
    assert gfa.keys.weight.std().item() == pytest.approx(1e-3, rel=0.02)
    assert ca.keys_values.weight.std().item() == pytest.approx(0.0176, rel=0.02)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"base_channels": 0},
            "base_channels=0 must be a whole number of at least 1 and at most 1048576, as",
        ),
        ({"base_channels": "32"}, "base_channels='32' must be a whole number"),
        ({"base_channels": 32.0}, "base_channels=32.0 must be a whole number"),
        ({"base_channels": True}, "base_channels=True must be a whole number"),
        ({"cross_size": 0}, "cross_size=0 must be a whole number of at least 1"),
        ({"injection": True}, "injection=True must be a list of 2 booleans"),
        ({"injection": [True]}, r"injection=\[True\] must be a list of 2 booleans"),
        ({"injection": "TF"}, "injection='TF' must be a list of 2 booleans"),
        ({"injection": [1, 0]}, r"injection=\[1, 0\] must be a list of 2 booleans"),
        ({"drop_path": 1}, "drop_path=1 must be at least 0 and below 1"),
        ({"drop_path": -0.1}, "drop_path=-0.1 must be at least 0"),
        ({"drop_path": math.nan}, "drop_path=nan must be a finite number"),
        ({"drop_path": "0.1"}, "drop_path='0.1' must be a finite number, as the default 0.1"),
        ({"drop_path": None}, "drop_path=None must be a finite number"),
        ({"inject": [True, False]}, r"'rtformer_slim' has no option 'inject'. Did you mean 'injection'\? Known: base_"),
    ],
)
def test_bad_options_are_refused_with_the_right_kind(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone("rtformer_slim", **options)


def test_a_backbone_is_built_without_a_head() -> None:
    backbone = create_backbone("rtformer_base", attention="sa", base_channels=8)
    assert isinstance(backbone, RTFormer)
    with pytest.raises(UserError, match=r"unknown model 'rtformer'. Did you mean 'rtformer_(slim|base)'\?"):
        create_backbone("rtformer")
