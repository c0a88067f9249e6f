import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from rtseg.attention.base import Attention
from rtseg.deploy.fuse import count_batchnorm, deploy, fold_batchnorm
from rtseg.errors import UserError
from rtseg.layers.conv import ConvMLP
from rtseg.layers.normalize import Normalize
from rtseg.models import create_model
from rtseg.models.backbone import swappable_models
from rtseg.models.segmenter import Segmenter
from tests.helpers.segmenters import every_network, small


def expected_classes(segmenter: Segmenter, image: Tensor) -> Tensor:
    """The long way: (B, H, W, 3) uint8 -> argmax of the segmenter's own full-size logits."""
    normalize = Normalize(segmenter.card.mean, segmenter.card.std)
    with torch.no_grad():
        return segmenter.eval()(normalize(image.permute(0, 3, 1, 2).contiguous())).argmax(1)


@pytest.mark.parametrize("size", [(64, 96), (37, 53), (1, 1), (8, 129)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_class_map_is_the_argmax_of_forward(
    segmenter: Segmenter, size: tuple[int, int], memory_format: torch.memory_format
) -> None:
    image = torch.randint(0, 256, (2, *size, 3), dtype=torch.uint8)
    network = deploy(segmenter, memory_format=memory_format)
    found = network(image)
    assert found.shape == (2, *size)
    assert found.dtype == torch.uint8
    # Another memory format sums in another order: a pixel between two classes may fall to either side.
    assert (found == expected_classes(segmenter, image)).float().mean() >= 0.999
    for one, of_batch in zip(image, found, strict=True):
        assert network(one).shape == size
        assert (network(one) == of_batch).float().mean() >= 0.999


def test_plain_memory_format_without_folding_is_exact(segmenter: Segmenter) -> None:
    image = torch.randint(0, 256, (1, 61, 45, 3), dtype=torch.uint8)
    found = deploy(segmenter, memory_format=torch.contiguous_format, fold=False)(image)
    assert torch.equal(found, expected_classes(segmenter, image).to(torch.uint8))


def test_network_predicts_more_than_one_class(segmenter: Segmenter) -> None:
    """Otherwise the comparisons above would show nothing."""
    assert len(deploy(segmenter)(torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)).unique()) > 1


def test_original_is_untouched_and_aux_head_gone(segmenter: Segmenter) -> None:
    before = copy.deepcopy(segmenter.state_dict())
    network = deploy(segmenter)
    network(torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8))
    assert segmenter.training
    assert all(parameter.requires_grad for parameter in segmenter.parameters())
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())
    assert not any("aux_head" in name for name, _ in network.named_parameters())
    kept = sum(p.numel() for p in deploy(segmenter, fold=False).parameters())
    assert kept == sum(p.numel() for name, p in segmenter.named_parameters() if not name.startswith("aux_head."))
    assert sum(p.numel() for p in network.parameters()) < kept
    assert count_batchnorm(segmenter) == count_batchnorm(deploy(segmenter, fold=False)) + 2
    with torch.no_grad():
        next(network.parameters()).zero_()
    assert torch.equal(before[next(iter(before))], next(segmenter.parameters()))


def test_half_precision_weights(segmenter: Segmenter) -> None:
    assert deploy(segmenter.bfloat16())(torch.zeros(16, 24, 3, dtype=torch.uint8)).shape == (16, 24)


@pytest.mark.parametrize(
    "image",
    [
        torch.zeros(32, 32, 3),
        torch.zeros(3, 32, 32, dtype=torch.uint8),
        torch.zeros(32, 32, dtype=torch.uint8),
        torch.zeros(1, 0, 32, 3, dtype=torch.uint8),
        torch.zeros(32, 32, 4, dtype=torch.uint8),
    ],
    ids=["float", "channels first", "grey", "empty", "rgba"],
)
def test_other_input_is_refused(segmenter: Segmenter, image: Tensor) -> None:
    with pytest.raises(UserError, match=r"uint8 RGB images of shape \(H, W, 3\)"):
        deploy(segmenter)(image)


# --- folding

on_every_network = pytest.mark.parametrize(("model", "attention"), every_network(["gfa+ca", "gfa", "sa", "ea"]))


def as_trained(model: str, attention: str) -> Segmenter:
    """BatchNorm of every kind, negative scales too, and an attention that is not uniform."""
    random = torch.Generator().manual_seed(1)
    options = {"cross_size": 3} if model in swappable_models() else {}
    network = small(model, attention, **options).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            sign = torch.rand(module.num_features, generator=random).sub(0.3).sign()
            # So small that no sigmoid of a map saturates, behind which nothing would matter.
            module.weight.uniform_(0.25, 0.75, generator=random).mul_(sign)
            for values in (module.bias, module.running_mean):
                values.normal_(0, 0.3, generator=random)
            module.running_var.uniform_(0.3, 3, generator=random)
        elif isinstance(module, Attention):
            for values in module.parameters():
                values.normal_(0, 0.05, generator=random)
    return network


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


@on_every_network
def test_folded_logits_are_those_as_trained(model: str, attention: str) -> None:
    network, image = as_trained(model, attention), torch.randn(2, 3, 64, 96)
    exact = deploy(network.double(), fold=False).logits(image.double())
    assert exact.std() > 0
    assert relative_error(deploy(network).logits(image.double()), exact) < 1e-10
    network.float()
    folded, plain = deploy(network), deploy(network, fold=False)
    assert count_batchnorm(folded) < count_batchnorm(plain)
    assert relative_error(folded.logits(image), plain.logits(image)) < 1e-5


@on_every_network
def test_every_batchnorm_matters(model: str, attention: str) -> None:
    """Otherwise the equality above would show nothing."""
    network, image = as_trained(model, attention).double(), torch.randn(1, 3, 64, 96).double()
    exact = network.logits(image)
    left_out = network.training_only_prefixes()
    norms = [
        (name, m)
        for name, m in network.named_modules()
        if isinstance(m, nn.BatchNorm2d) and not name.startswith(left_out)
    ]
    # A shift that only memories see is lost in their softmax over tokens, which is why `gfa` may drop it; the heads of
    # `ea` share one memory, so that a scale has no place there, and its BatchNorm stays.
    memory = {"low": attention.split("+")[0], "high": attention.split("+")[-1]}
    for name, norm in norms:
        bias = norm.bias.clone()
        norm.bias.data += 0.5
        moved = relative_error(network.logits(image), exact)
        norm.bias.copy_(bias)
        if memory.get(name.rpartition(".")[2].removesuffix("_norm")) in ("gfa", "ea"):
            assert moved < 1e-12, name
        else:
            assert moved > 1e-6, name


def left(network: nn.Module) -> set[str]:
    return {name.removeprefix("segmenter.") for name, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


DAPPM_AND_HEAD = {
    *[f"head.context.scales.{i}.0" for i in range(5)],
    *[f"head.context.processes.{i}.0" for i in range(4)],
    "head.context.compression.0", "head.context.shortcut.0", "head.classifier.hidden.0",
}  # fmt: skip


def test_what_is_left_of_rtformer_and_why() -> None:
    network = create_model("rtformer_slim", 5, attention="gfa+ca")
    assert count_batchnorm(deploy(network, fold=False)) == 47
    assert left(deploy(network)) == {
        # before a padded 3x3
        "backbone.block4.low_mlp.norm", "backbone.block4.high_mlp.norm",
        "backbone.block5.low_mlp.norm", "backbone.block5.high_mlp.norm",
        # before ReLU
        "backbone.stage3_to_high.0", "backbone.block4.low_to_high.0", "backbone.block5.low_to_high.0",
        "backbone.block4.high_to_low.0.0", *DAPPM_AND_HEAD,
        # before the queries of ca, and before its max pooling
        "backbone.block4.high_norm", "backbone.block5.high_norm",
        "backbone.block4.high_attention.norm", "backbone.block5.high_attention.norm",
    }  # fmt: skip
    assert len(left(deploy(network))) == 24


def test_what_is_left_of_ddrnet() -> None:
    """In the trunk BatchNorm stands behind convolutions alone."""
    network = create_model("ddrnet_23_slim", 5)
    assert count_batchnorm(deploy(network, fold=False)) == 55
    assert left(deploy(network)) == DAPPM_AND_HEAD


@pytest.mark.parametrize(
    ("attention", "norms"),
    [
        ("gfa", set()),
        ("sa", {"low_norm", "high_norm"}),
        ("ea", {"low_norm", "high_norm"}),
        ("gfa+ca", {"high_norm"}),
        ("sa+gfa", {"low_norm"}),
    ],
)
def test_batchnorm_before_attention_folds_into_gfa_alone(attention: str, norms: set[str]) -> None:
    found = left(deploy(as_trained("rtformer_slim", attention)))
    blocks = ("block4", "block5")
    assert {name for name in found if name.endswith(("low_norm", "high_norm"))} == {
        f"backbone.{block}.{norm}" for block in blocks for norm in norms
    }


def test_fold_batchnorm_counts() -> None:
    network = deploy(as_trained("rtformer_slim", "gfa+ca"), fold=False)
    assert fold_batchnorm(network) == 23
    assert count_batchnorm(network) == 24
    assert fold_batchnorm(network) == 0


def test_a_batchnorm_before_a_padded_convolution_must_stay() -> None:
    """Zeros are padded behind it: a bias instead of it adds at the border what the zeros do not have."""
    torch.manual_seed(3)
    mlp = ConvMLP(6).double().eval().requires_grad_(False)
    mlp.norm.bias.normal_()
    mlp.norm.weight.uniform_(0.5, 1.5)
    x = torch.randn(1, 6, 9, 11).double()
    scale = mlp.norm.weight / (1 + mlp.norm.eps) ** 0.5  # fresh statistics: mean 0, variance 1
    weight = mlp.conv1.weight * scale[None, :, None, None]
    assert mlp.conv1.bias is not None
    bias = mlp.conv1.bias + mlp.conv1.weight.sum((2, 3)) @ mlp.norm.bias
    folded = F.conv2d(x, weight, bias, padding=1)
    difference = (folded - mlp.conv1(mlp.norm(x))).abs().amax((0, 1))
    assert difference[1:-1, 1:-1].max() < 1e-12
    border = torch.cat([difference[0], difference[-1], difference[:, 0], difference[:, -1]])
    assert border.min() > 0.01
    block = nn.Sequential(OrderedDict(mlp=mlp))
    expected = block(x)
    assert fold_batchnorm(block) == 0
    assert torch.equal(block(x), expected)


def test_a_scale_of_zero_and_groups() -> None:
    """A 1x1 of groups, a padded 1x1 and a strided one: the first two are left."""
    torch.manual_seed(4)
    norm = nn.BatchNorm2d(4)
    norm.bias.data.normal_()
    norm.weight.data.copy_(torch.tensor([0.0, -1.0, 2.0, 1e-3]))
    convs = [nn.Conv2d(4, 6, 1, groups=2), nn.Conv2d(4, 6, 1, padding=1), nn.Conv2d(4, 6, 1, 2)]
    for conv, folded in zip(convs, (0, 0, 1), strict=True):
        row = nn.Sequential(copy.deepcopy(norm), conv).double().eval().requires_grad_(False)
        x = torch.randn(2, 4, 7, 8).double()
        expected = row(x)
        assert fold_batchnorm(row) == folded
        torch.testing.assert_close(row(x), expected, rtol=1e-12, atol=1e-12)


def randomised(*parts: nn.Module) -> nn.Sequential:
    torch.manual_seed(5)
    row = nn.Sequential(*parts).double().eval().requires_grad_(False)
    for norm in row.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            norm.running_mean.normal_()
    return row


def test_a_convolution_that_runs_in_several_places_is_left_as_it_is() -> None:
    """As heads do that share convolutions among levels, each level with norms of its own."""
    shared, norms = nn.Conv2d(3, 3, 1), [nn.BatchNorm2d(3) for _ in range(3)]
    rows = [
        randomised(shared, norms[0], nn.ReLU(), shared, norms[1]),
        randomised(nn.Sequential(shared, norms[0]), nn.ReLU(), nn.Sequential(shared, norms[1])),
        randomised(shared, norms[0], shared),
        randomised(norms[0], shared, nn.ReLU(), norms[1], shared),
    ]
    x = torch.randn(2, 3, 5, 6).double()
    for row in rows:
        expected = row(x)
        assert fold_batchnorm(row) == 0
        assert torch.equal(row(x), expected)


class Standardised(nn.Conv2d):
    """As timm's StdConv2d: a factor of the weights has no effect."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, weight, self.bias, padding=self.padding)


class NormAndActivation(nn.BatchNorm2d):
    """As timm's BatchNormAct2d."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


@pytest.mark.parametrize(
    "row",
    [
        (Standardised(3, 4, 3), nn.BatchNorm2d(4)),
        (nn.BatchNorm2d(3), Standardised(3, 4, 1)),
        (nn.Conv2d(3, 4, 3), NormAndActivation(4)),
        (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
    ids=["standardised", "before standardised", "with activation", "statistics of each batch"],
)
def test_subclasses_that_do_more_stay(row: tuple[nn.Module, ...]) -> None:
    network, x = randomised(*row), torch.randn(2, 3, 5, 6).double()
    expected = network(x)
    assert fold_batchnorm(network) == 0
    assert torch.equal(network(x), expected)


def test_a_norm_without_weights_folds_too() -> None:
    network, x = randomised(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)), torch.randn(2, 3, 5, 6).double()
    expected = network(x)
    assert fold_batchnorm(network) == 1
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


def doubled(part: nn.Module, *, before: bool) -> nn.Module:
    """With a hook, as it stands in what somebody measures or steers."""
    if before:
        part.register_forward_pre_hook(lambda module, inputs: (2 * inputs[0],))
    else:
        part.register_forward_hook(lambda module, inputs, output: 2 * output)
    return part


@pytest.mark.parametrize(
    "row",
    [
        (weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        (spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)),
        (nn.BatchNorm2d(3), spectral_norm(nn.Conv2d(3, 4, 1))),
        (doubled(nn.Conv2d(3, 4, 3), before=False), nn.BatchNorm2d(4)),
        (nn.Conv2d(3, 4, 3), doubled(nn.BatchNorm2d(4), before=True)),
        (nn.Conv2d(3, 4, 3), doubled(nn.BatchNorm2d(4), before=False)),
    ],
    ids=["weight norm", "spectral norm", "before spectral norm", "hook behind", "hook between", "hook at the end"],
)
def test_computed_weights_and_hooks_stay(row: tuple[nn.Module, ...]) -> None:
    network, x = randomised(*row), torch.randn(2, 3, 5, 6).double()
    expected = network(x)
    assert fold_batchnorm(network) == 0
    assert torch.equal(network(x), expected)


class Renamed(nn.Module):
    """Its norm has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.norm = self.bn

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        yield self.conv, self.bn


def test_a_folded_norm_is_gone_under_all_its_names() -> None:
    network, x = randomised(Renamed()), torch.randn(2, 3, 5, 6).double()
    expected = network(x)
    assert fold_batchnorm(network) == 1
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)
