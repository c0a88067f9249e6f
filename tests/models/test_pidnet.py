"""PIDNet: counts and outputs of the official networks, its parts and losses, training, folding, export and timing."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.backbone import create_backbone
from rtseg.models.pidnet import PAPPM, Bag, LightBag, PixelAttention
from rtseg.speed.asked import Asked
from rtseg.speed.command import run_benchmark
from rtseg.training.losses import LossConfig, LossContext, TotalLoss
from rtseg.training.losses.boundary import boundaries, boundary, cross_entropy_at_boundary
from rtseg.training.losses.cross_entropy import pixel_loss
from tests.helpers.benchmark_command import QUICK

TINY: dict[str, Any] = {"base_channels": 8, "spp_channels": 8, "head_channels": 8}


def numel(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- counts of the official networks


def bn(channels: int) -> int:
    return 2 * channels


def conv(in_channels: int, out_channels: int, kernel: int) -> int:
    """With its BatchNorm."""
    return kernel**2 * in_channels * out_channels + bn(out_channels)


def basic(in_channels: int, out_channels: int, blocks: int) -> int:
    """Blocks of two 3x3."""
    shortcut = conv(in_channels, out_channels, 1) if in_channels != out_channels else 0
    return conv(in_channels, out_channels, 3) + (2 * blocks - 1) * conv(out_channels, out_channels, 3) + shortcut


def bottleneck(in_channels: int, channels: int) -> int:
    shortcut = conv(in_channels, 2 * channels, 1) if in_channels != 2 * channels else 0
    return conv(in_channels, channels, 1) + conv(channels, channels, 3) + conv(channels, 2 * channels, 1) + shortcut


def trunk(c: int, m: int, n: int, d: int) -> int:
    """The official layers, one a line; what they are called there."""
    return (
        conv(3, c, 3) + c + conv(c, c, 3) + c  # conv1, biased
        + basic(c, c, m) + basic(c, 2 * c, m)  # layer1, layer2
        + basic(2 * c, 4 * c, n) + basic(4 * c, 8 * c, n)  # layer3, layer4
        + bottleneck(8 * c, 8 * c) + bottleneck(16 * c, 8 * c)  # layer5
        + conv(4 * c, 2 * c, 1) + conv(8 * c, 2 * c, 1)  # compression3, compression4
        + 4 * conv(2 * c, c, 1)  # pag3, pag4
        + 2 * basic(2 * c, 2 * c, m) + bottleneck(2 * c, 2 * c)  # layer3_, layer4_, layer5_
        + basic(2 * c, d, 1)  # layer3_d
        + (bottleneck(c, c) if d == c else basic(d, 2 * c, 1))  # layer4_d
        + conv(4 * c, d, 3) + conv(8 * c, 2 * c, 3)  # diff3, diff4
        + bottleneck(2 * c, 2 * c)  # layer5_d
    )  # fmt: skip


def classifier(in_channels: int, hidden: int, num_classes: int) -> int:
    return bn(in_channels) + 9 * in_channels * hidden + bn(hidden) + hidden * num_classes + num_classes


def head(c: int, p: int, hidden: int, d: int, num_classes: int) -> int:
    """spp, dfm, final_layer."""
    low, high = 16 * c, 4 * c
    scales = 5 * (bn(low) + low * p) + bn(5 * p) + 5 * p * high + bn(low) + low * high
    refined = bn(4 * p) + 4 * 9 * p * p  # four groups, or four convolutions
    fusion = 2 * conv(high, high, 1) if d == c else bn(high) + 9 * high * high
    return scales + refined + fusion + classifier(high, hidden, num_classes)


@pytest.mark.parametrize(
    ("model", "sizes", "inference", "training", "paper_millions", "paper_gmacs"),
    [
        ("pidnet_s", (32, 2, 3, 32, 96, 128), 7_625_715, 7_720_935, 7.6, 47.6),
        ("pidnet_m", (64, 2, 3, 64, 96, 128), 28_538_515, 28_763_111, None, None),
        # The paper's M. The authors' code and README have three blocks in stages 3 and 4 of I, which is 28.5 million.
        ("pidnet_m", (64, 2, 4, 64, 96, 128), 34_439_827, 34_664_423, 34.4, 197.4),
        ("pidnet_l", (64, 3, 4, 128, 112, 256), 36_939_571, 37_314_311, 36.9, 275.8),
    ],
)
def test_parameters_and_multiply_adds_of_the_official_networks(
    model: str,
    sizes: tuple[int, ...],
    inference: int,
    training: int,
    paper_millions: float | None,
    paper_gmacs: float | None,
) -> None:
    """By hand, layer by layer, and as the paper rounds them for Cityscapes, 1024x2048."""
    c, m, n, d, p, hidden = sizes
    with torch.device("meta"):
        network, image = create_model(model, 19, blocks=[m, n]).eval(), torch.empty(1, 3, 1024, 2048)
    auxiliary = classifier(2 * c, hidden, 19), classifier(2 * c, c, 1)  # seghead_p, seghead_d
    assert numel(network.backbone) == trunk(c, m, n, d)
    assert numel(network.head) == head(c, p, hidden, d, 19)
    assert [numel(part) for part in network.training_only()] == list(auxiliary)
    assert trunk(c, m, n, d) + head(c, p, hidden, d, 19) == inference
    assert inference + sum(auxiliary) == numel(network) == training
    if paper_millions is not None:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image)
        assert round(inference / 1e6, 1) == paper_millions
        # Of convolutions; the paper's figure is up to 0.9 % above and seems to count BatchNorm too.
        assert counter.get_total_flops() / 2e9 == pytest.approx(paper_gmacs, rel=0.01)


def test_what_m_and_l_are_made_of_is_their_default() -> None:
    with torch.device("meta"):
        assert numel(create_model("pidnet_m", 19)) == 28_763_111
        assert numel(create_model("pidnet_l", 19)) == 37_314_311


# --- outputs of the official networks


def fill(network: nn.Module) -> None:
    """Weights and statistics that no layer's initial values decide."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            value.uniform_(0.5, 1.5, generator=generator)
        elif value.is_floating_point():
            bound = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.2
            value.uniform_(-bound, bound, generator=generator)


# Logits at row 4, column 6 of 9x13, and their standard deviation over the map, of the authors' classes (commit 3986991)
# with these weights entry by entry. At 65x97 no branch's size is a whole multiple of another's.
OFFICIAL: dict[str, dict[str, tuple[list[float], float]]] = {
    "pidnet_s": {
        "main": ([0.20017, 0.0506, -0.00605, 0.05733, -0.15692], 0.14332),
        "aux": ([-0.09997, 0.1664, 0.13782, -0.0088, 0.45312], 0.24232),
        "boundary": ([-0.02457], 0.10675),
    },
    "pidnet_l": {
        "main": ([-0.13358, 0.16689, -0.21317, -0.28309, 0.43157], 0.25086),
        "aux": ([0.24326, 1.01907, 1.16226, -0.38656, 0.21339], 0.40332),
        "boundary": ([-0.47944], 0.16959),
    },
}


@pytest.mark.parametrize("model", OFFICIAL)
@torch.no_grad()
def test_outputs_of_the_official_networks(model: str) -> None:
    network: Any = create_model(model, 5, **TINY).eval()
    fill(network)
    features = network.backbone(torch.empty(1, 3, 65, 97).uniform_(-2, 2, generator=torch.Generator().manual_seed(1)))
    heads = {"main": network.head, "aux": network.aux_head, "boundary": network.boundary_head}
    for name, (values, deviation) in OFFICIAL[model].items():
        logits = heads[name](features)
        assert logits.shape == (1, len(values), 9, 13)
        assert logits[0, :, 4, 6].tolist() == pytest.approx(values, abs=2e-5)
        assert logits.std().item() == pytest.approx(deviation, abs=2e-5)


# --- parts


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 150), width=st.integers(1, 150), model=st.sampled_from(["pidnet_s", "pidnet_l"]))
def test_feature_maps_are_what_they_say_at_any_size(height: int, width: int, model: str) -> None:
    backbone = create_backbone(model, base_channels=8).eval()
    with torch.no_grad():
        features = backbone(torch.randn(1, 3, height, width))
    assert features.keys() == backbone.features.keys()
    for name, info in backbone.features.items():
        rows, columns = math.ceil(height / info.stride), math.ceil(width / info.stride)
        assert features[name].shape == (1, info.channels, rows, columns)
        assert features[name].isfinite().all()


@torch.no_grad()
def test_pixel_attention_is_a_mean_by_agreement() -> None:
    fusion = PixelAttention(4, 3).eval()
    p, i = torch.randn(2, 4, 9, 14), torch.randn(2, 4, 5, 7)
    up = F.interpolate(i, size=(9, 14), mode="bilinear", align_corners=False)
    embedded = F.interpolate(fusion.embed_i(i), size=(9, 14), mode="bilinear", align_corners=False)
    weight = torch.einsum("bchw,bchw->bhw", fusion.embed_p(p), embedded).sigmoid()[:, None]
    assert weight.std() > 0.01
    torch.testing.assert_close(fusion(p, i), p + weight * (up - p))


@torch.no_grad()
def test_boundaries_decide_between_detail_and_context() -> None:
    p, i = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 4, 6)
    sure = torch.full_like(p, 30.0)
    bag, light = Bag(3).eval(), LightBag(3).eval()
    torch.testing.assert_close(bag(p, i, sure), bag.mix(p))
    torch.testing.assert_close(bag(p, i, -sure), bag.mix(i))
    torch.testing.assert_close(light(p, i, sure), light.mix_p(p) + light.mix_i(i + p))
    torch.testing.assert_close(light(p, i, -sure), light.mix_p(p + i) + light.mix_i(i))


@torch.no_grad()
def test_each_of_pappms_scales_adds_to_the_finest_alone() -> None:
    pappm: Any = PAPPM(6, 2, 5).eval()
    x = torch.randn(1, 6, 20, 26)
    finest = pappm.scales[0](x)
    kernel = pappm.process[2].weight
    means = [F.avg_pool2d(x, 2 * s + 1, s, s) for s in (2, 4, 8)] + [x.mean((2, 3), keepdim=True)]
    refined = []
    for k, mean in enumerate(means):
        level = finest + F.interpolate(pappm.scales[k + 1](mean), size=(20, 26), mode="bilinear", align_corners=False)
        norm = (level / (1 + 1e-5) ** 0.5).relu()  # fresh statistics
        refined.append(F.conv2d(norm, kernel[2 * k : 2 * k + 2], padding=1))
    expected = pappm.compression(torch.cat([finest, *refined], 1)) + pappm.shortcut(x)
    torch.testing.assert_close(pappm(x), expected)


# --- losses


MASK = """
    00000000
    00000000
    00000111
    00000111
    00000111
    0000_111
"""
# Two pixels on each side; "_" is ignored and makes no boundary by itself.
EDGES = """
    ...#####
    ...#####
    ...#####
    ...#####
    ...####.
    ...#_##.
"""


def drawn(text: str, values: dict[str, int]) -> Tensor:
    return torch.tensor([[[values[letter] for letter in line] for line in text.split()]])


def context(**outputs: Tensor) -> LossContext:
    return LossContext(outputs, LossConfig(), ignore_index=255)


def test_boundaries_of_a_mask_made_by_hand() -> None:
    mask = drawn(MASK, {"0": 0, "1": 1, "_": 255})
    expected = drawn(EDGES, {".": 0, "#": 1, "_": 0}).bool()
    assert torch.equal(boundaries(mask), expected)
    assert torch.equal(boundaries(mask.where(mask != 1, 18)), expected)
    assert not boundaries(torch.full((1, 6, 8), 7)).any()
    assert not boundaries(torch.full((1, 6, 8), 255)).any()


def test_boundary_loss_counts_both_kinds_alike() -> None:
    mask = drawn(MASK, {"0": 0, "1": 1, "_": 255})
    there = boundaries(mask)
    logits = torch.randn(1, 1, 6, 8)
    right = torch.where(there, logits[:, 0], -logits[:, 0]).sigmoid().log()
    ours = mask != 255
    n, n_there, n_not = int(ours.sum()), int((ours & there).sum()), int((ours & ~there).sum())
    expected = -(right[ours & there].sum() * n_not / n + right[ours & ~there].sum() * n_there / n) / n
    assert boundary(logits, mask, context()).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("label", [255, 3])
def test_a_mask_without_boundary_costs_nothing(label: int) -> None:
    logits = torch.randn(2, 1, 8, 8, requires_grad=True)
    loss = boundary(logits, torch.full((2, 8, 8), label), context())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert gradient.eq(0).all()


def test_classes_are_learnt_once_more_where_a_boundary_is_certain() -> None:
    main, mask = torch.randn(1, 4, 6, 8), torch.randint(0, 4, (1, 6, 8))
    edge = torch.full((1, 1, 6, 8), 1.38)  # just below 0.8
    assert cross_entropy_at_boundary(main, mask, context(boundary=edge)).item() == 0
    edge[..., :3] = 1.39
    expected = F.cross_entropy(main[..., :3], mask[..., :3])
    assert cross_entropy_at_boundary(main, mask, context(boundary=edge)).item() == pytest.approx(expected.item())


def test_a_model_without_boundaries_is_told_so() -> None:
    main, mask = torch.randn(1, 4, 6, 8), torch.randint(0, 4, (1, 6, 8))
    with pytest.raises(UserError, match="reads the output 'boundary', and the model has main, aux: give its backbone"):
        cross_entropy_at_boundary(main, mask, context(main=main, aux=main))


# --- training, folding, export, timing


@pytest.mark.parametrize("model", OFFICIAL)
def test_two_steps_of_training_reach_every_parameter(model: str) -> None:
    network: Any = create_model(model, 5, **TINY).train()
    total = TotalLoss(network.backbone.outputs, LossConfig())
    mask = torch.randint(0, 5, (2, 4, 5)).repeat_interleave(32, 1).repeat_interleave(32, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(2):
        outputs = network.forward_train(torch.randn(2, 3, 128, 160))
        assert {name: tuple(logits.shape) for name, logits in outputs.items()} == {
            "main": (2, 5, 128, 160), "aux": (2, 5, 128, 160), "boundary": (2, 1, 128, 160)
        }  # fmt: skip
        loss = total(outputs, mask)
        parts = [pixel_loss(outputs[name], mask, LossConfig()) for name in ("main", "aux")]
        parts += [
            boundary(outputs["boundary"], mask, context()),
            cross_entropy_at_boundary(outputs["main"], mask, context(**outputs)),
        ]
        assert loss.item() == pytest.approx((parts[0] + 0.4 * parts[1] + 20 * parts[2] + parts[3]).item(), rel=1e-5)
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name
        optimizer.step()


SCALES = {*[f"context.scales.{i}.0" for i in range(5)], "context.compression.0", "context.shortcut.0"}


@pytest.mark.parametrize(
    ("model", "norms", "left"),
    [
        ("pidnet_s", 75, {*SCALES, "context.process.0", "classifier.hidden.0"}),
        # The fusion of L ends in a convolution, which takes the classifier's first BatchNorm.
        ("pidnet_l", 86, {*SCALES, *[f"context.processes.{i}.0" for i in range(4)], "fusion.mix.0"}),
    ],
)
@torch.no_grad()
def test_batchnorm_stays_before_the_relus_of_the_head_alone(model: str, norms: int, left: set[str]) -> None:
    network = create_model(model, 5, **TINY).double().eval()
    fill(network)
    image = torch.randn(2, 3, 65, 97).double()
    folded, plain = deploy(network), deploy(network, fold=False)
    assert count_batchnorm(plain) == norms
    names = {name for name, module in folded.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert names == {f"segmenter.head.{name}" for name in left}
    torch.testing.assert_close(folded.logits(image), plain.logits(image), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["pidnet_s", "pidnet_l"])
@torch.no_grad()
def test_it_exports_with_open_height_and_width(model: str, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = create_model(model, 5, **TINY).eval()
    fill(network)
    sizes = ({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    program = torch.onnx.export(network, (torch.randn(1, 3, 64, 96),), dynamo=True, dynamic_shapes=sizes, verbose=False)
    assert program is not None
    program.save(tmp_path / "network.onnx")
    session = runtime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    for size in ((64, 96), (65, 97), (5, 7), (300, 130)):
        image = torch.randn(1, 3, *size)
        (logits,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), network(image), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_is_timed_beside_the_others() -> None:
    names = ["pidnet_s", "rtformer_slim", "ddrnet_23_slim"]
    report = run_benchmark(Asked(names, num_classes=19, backends=["eager", "onnxruntime"]), QUICK)
    assert [(row.network_name, row.parameters) for row in report.networks if row.backend.startswith("eager")] == [
        ("pidnet_s", 7_625_715), ("rtformer_slim gfa+ca", 4_996_019), ("ddrnet_23_slim", 5_695_987)
    ]  # fmt: skip
    assert all(row.parity and row.parity.passed for row in report.networks)
