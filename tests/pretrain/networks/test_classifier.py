"""Classifiers: counts of the published networks, one training step of each, the hand-over's keys, what is refused."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pretrain.networks.classifier import Classifier, create_classifier, list_classifiers
from rtseg.attention import list_attentions
from rtseg.attention.cross_resolution import CrossResolutionAttention
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.layers.drop_path import DropPath
from rtseg.models import create_model, list_models
from rtseg.models.backbone import backbone_options
from rtseg.registry import UnknownNameError

SWAPPABLE = ["rtformer_base", "rtformer_slim"]
OTHERS = ["df1", "df2", "efficientnet_b0", "mobilenetv2", "mobilenetv3", "resnet18", "resnet50", "stdc1", "stdc2"]
ATTENTIONS = [f"gfa+{name}" if get_mechanism(name).needs_context else name for name in list_attentions()]


def small(name: str, num_classes: int = 5, **options: Any) -> Any:
    """The library's networks narrow; the others have no width to choose."""
    if name in list_models() and "base_channels" in backbone_options(name):
        options.setdefault("base_channels", 8)
    return create_classifier(name, num_classes, **options)


def counts(name: str, **options: Any) -> tuple[int, float]:
    """Parameters; 10^9 multiply-adds at 224x224."""
    with torch.device("meta"):
        network, image = create_classifier(name, **options).eval(), torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 2e9


def test_the_names_are_those_of_the_library_and_of_table_2() -> None:
    assert list_classifiers() == sorted([*list_models(), *OTHERS])


# --- counts


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"), [("ddrnet_23_slim", 7_574_664, 0.9728), ("ddrnet_23", 28_216_616, 3.8676)]
)
def test_ddrnet_is_the_official_classifier(name: str, parameters: int, gmacs: float) -> None:
    found, macs = counts(name)
    assert found == parameters
    assert macs == pytest.approx(gmacs, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "millions", "gmacs", "parameters"),
    [("rtformer_slim", 5.3, 0.8, 5_245_576), ("rtformer_base", 20.5, 3.0, 20_445_480)],
)
def test_rtformer_is_within_three_per_cent_of_the_papers(
    name: str, millions: float, gmacs: float, parameters: int
) -> None:
    found, macs = counts(name)
    assert found == parameters
    assert found / 1e6 == pytest.approx(millions, rel=0.03)
    assert macs == pytest.approx(gmacs, rel=0.03)
    # Whether the backbone or the head injects, it is the same sum.
    assert counts(name, injection=(True, True)) == (found, macs)


@pytest.mark.parametrize(
    ("name", "millions", "gmacs"),
    [("stdc1", 8.44, 0.806), ("stdc2", 12.47, 1.437), ("df1", 8.53, 0.747), ("df2", 17.99, 1.774)],
)
def test_stdc_and_df_are_as_large_as_their_authors_say(name: str, millions: float, gmacs: float) -> None:
    """DF as its authors state it: 746 M and 1.77 G multiply-adds, which are cut off."""
    found, macs = counts(name)
    assert found / 1e6 == pytest.approx(millions, abs=5e-3)
    assert macs == pytest.approx(gmacs, abs=5e-4)


def test_stdc1_by_hand() -> None:
    def conv(in_channels: int, out_channels: int, kernel: int) -> int:
        return kernel**2 * in_channels * out_channels + 2 * out_channels

    def block(in_channels: int, n: int, *, halves: bool) -> int:
        chain = conv(n // 2, n // 4, 3) + conv(n // 4, n // 8, 3) + conv(n // 8, n // 8, 3)
        return conv(in_channels, n // 2, 1) + chain + (conv(1, n // 2, 3) if halves else 0)

    stages = ((64, 256), (256, 512), (512, 1024))
    trunk = sum(block(before, n, halves=True) + block(n, n, halves=False) for before, n in stages)
    stem, head = conv(3, 32, 3) + conv(32, 64, 3), conv(1024, 1024, 1) + 1024 * 1024 + 1024 * 1000
    assert counts("stdc1")[0] == stem + trunk + head


# --- training and sizes


def check_training(network: nn.Module, num_classes: int) -> None:
    """No parameter without a gradient, for which distributed training would wait, and none that stays: after two steps,
    for timm's ResNets begin with branches of zero.
    """
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=1e-3, weight_decay=0)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        logits = network(torch.randn(2, 3, 64, 64))
        assert logits.shape == (2, num_classes)
        F.cross_entropy(logits, torch.tensor([0, num_classes - 1])).backward()
        bad = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert bad == []
        optimizer.step()
    assert [name for name, p in network.named_parameters() if torch.equal(p, before[name])] == []
    assert all(p.isfinite().all() for p in network.parameters())


TWINS = {"df2", "stdc2"}  # deeper than df1 and stdc1, of the same blocks


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in TWINS else []) for name in list_classifiers()]
)
def test_every_classifier_trains(name: str) -> None:
    check_training(small(name), 5)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_trains_and_keeps_the_segmentation_networks_keys(attention: str) -> None:
    network = small("rtformer_slim", attention=attention)
    check_training(network, 5)
    check_keys(network, "rtformer_slim", attention)


@pytest.mark.parametrize("injection", [(True, True), (True, False), (False, True), (False, False)])
def test_the_high_branch_is_always_heard(injection: tuple[bool, bool]) -> None:
    network = small("rtformer_slim", injection=injection)
    assert (network.head.high_to_low is None) == injection[1]
    check_training(network, 5)


def check_keys(network: Classifier, name: str, attention: str | None) -> None:
    segmenter = create_model(name, 7, attention=attention, base_channels=8)
    segmenter.backbone.load_state_dict(network.backbone.state_dict(), strict=True)
    own = {key for key in network.state_dict() if key.startswith("backbone.")}
    assert own == {key for key in segmenter.state_dict() if key.startswith("backbone.")}
    # A head that takes means has no weights.
    assert {key.split(".")[0] for key in network.state_dict()} - {"head"} == {"backbone", "fc"}


@pytest.mark.parametrize("name", list_models())
def test_the_backbone_is_the_segmentation_networks(name: str) -> None:
    check_keys(small(name), name, None)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 100), width=st.integers(1, 100), name=st.sampled_from(["rtformer_slim", "ddrnet_23_slim"]))
def test_any_size_is_classified(height: int, width: int, name: str) -> None:
    with torch.no_grad():
        logits = small(name, 3).eval()(torch.randn(2, 3, height, width))
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", OTHERS)
@torch.no_grad()
def test_odd_sizes_are_classified_by_the_others(name: str) -> None:
    assert small(name, 3).eval()(torch.randn(1, 3, 33, 47)).shape == (1, 3)


# --- what they compute


@torch.no_grad()
def test_ddrnets_head_is_the_authors() -> None:
    network = small("ddrnet_23_slim").eval()
    image = torch.randn(2, 3, 70, 90)
    features = network.backbone(image)
    down, widen = network.head.high_to_low, network.head.widen
    assert [type(layer) for layer in down] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    assert [type(layer) for layer in widen] == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert widen[0].kernel_size == (1, 1)
    assert widen[0].out_channels == 32 * 8
    joined = features["low"] + down(features["high"].relu())
    pooled = F.adaptive_avg_pool2d(widen(joined.relu()), 1).flatten(1)
    torch.testing.assert_close(network(image), network.fc(pooled))


@torch.no_grad()
def test_the_heads_injection_is_that_of_the_last_block() -> None:
    """A backbone that injects twice, and one that injects once under a head with the same weights, agree."""
    once, twice = small("rtformer_slim").eval(), small("rtformer_slim", injection=(True, True)).eval()
    renamed = {
        key.replace("head.high_to_low.", "backbone.block5.high_to_low."): value
        for key, value in once.state_dict().items()
    }
    twice.load_state_dict(renamed, strict=True)
    image = torch.randn(2, 3, 70, 90)
    torch.testing.assert_close(once(image), twice(image))
    low = twice.backbone(image)["low"]
    torch.testing.assert_close(twice(image), twice.fc(twice.head.mix(low.relu()).mean((2, 3))))
    assert (low < 0).any()


@torch.no_grad()
def test_a_short_term_dense_block_is_the_papers_figure() -> None:
    block = small("stdc1").eval().stages[0]
    x = torch.randn(2, 64, 10, 14)
    first = block.first(x)
    second = block.others[0](block.halve(first))
    third = block.others[1](second)
    out = torch.cat([F.avg_pool2d(first, 3, 2, 1), second, third, block.others[2](third)], 1)
    assert [part.shape[1] for part in (first, second, third)] == [128, 64, 32]
    torch.testing.assert_close(block(x), out)


# --- defaults, initial values


@pytest.mark.parametrize("name", SWAPPABLE)
def test_no_path_is_dropped_unless_asked(name: str) -> None:
    def rates(**options: Any) -> set[float]:
        return {module.drop_prob for module in small(name, **options).modules() if isinstance(module, DropPath)}

    assert rates() == {0.0}
    assert rates(drop_path=0.2) == {0.2}


def test_defaults_that_differ_from_segmentation() -> None:
    def sizes(**options: Any) -> set[int]:
        modules = small("rtformer_slim", **options).modules()
        return {module.cross_size for module in modules if isinstance(module, CrossResolutionAttention)}

    assert sizes() == {12}
    assert sizes(cross_size=8) == {8}
    assert small("ddrnet_23_slim").backbone.features["low"].stride == 32


@pytest.mark.parametrize("name", [*list_models(), "stdc1", "df1"])
def test_initial_values(name: str) -> None:
    network: Any = small(name, 500, **({"base_channels": 16} if name in list_models() else {}))
    assert network.fc.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert network.fc.bias is None or not network.fc.bias.any()
    for conv in (network.head if name in list_models() else network).modules():
        if isinstance(conv, nn.Conv2d) and conv.weight.numel() > 5000:
            fan_in = conv.weight[0].numel()
            assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


# --- what is refused


def test_a_wrong_name_meets_the_nearest_right_one() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown classifier 'resnet_50'. Did you mean 'resnet50'\?.* stdc2"):
        create_classifier("resnet_50")


@pytest.mark.parametrize("num_classes", [1, 0, -3, True, 10.0, "10", None])
def test_fewer_than_two_classes_are_refused(num_classes: Any) -> None:
    for name in ("rtformer_slim", "stdc1"):
        with pytest.raises(UserError, match=f"num_classes={num_classes!r} must be a whole number of at least 2"):
            create_classifier(name, num_classes)


@pytest.mark.parametrize("name", [*OTHERS, "ddrnet_23_slim"])
def test_an_attention_is_refused_where_there_is_none(name: str) -> None:
    message = rf"'{name}' has no attention to choose, so it cannot have 'gfa\+ca': leave attention out.* or take one of"
    with pytest.raises(UserError, match=message + ".* rtformer_base, rtformer_slim" if name not in OTHERS else message):
        create_classifier(name, attention="gfa+ca")


@pytest.mark.parametrize("name", ["df1", "resnet18", "ddrnet_23_slim"])
def test_no_attention_may_be_written_down(name: str) -> None:
    assert isinstance(small(name, attention="none"), nn.Module)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stdc1", {"base_channels": 8}, "model 'stdc1' has no option 'base_channels'. Known: none"),
        ("resnet18", {"drop_rate": 0.1}, "model 'resnet18' has no option 'drop_rate'"),
        ("rtformer_slim", {"drop_paths": 0.1}, r"has no option 'drop_paths'. Did you mean 'drop_path'\?"),
        ("rtformer_slim", {"low_stride": 32}, "model 'rtformer_slim' has no option 'low_stride'"),
        ("rtformer_slim", {"attention": "gfaa"}, r"unknown attention 'gfaa'. Did you mean 'gfa'\?"),
        ("rtformer_slim", {"drop_path": 1}, "drop_path=1 must be at least 0 and below 1"),
        ("ddrnet_23_slim", {"low_stride": 64}, "low_stride=64 is for segmentation: a classifier's DDRNet has 32"),
        ("ddrnet_23_slim", {"base_channels": "8"}, "base_channels='8' must be a whole number of at least 1"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_classifier(name, **options)
