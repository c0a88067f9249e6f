"""Convolution blocks, pyramid pooling, resizing and normalisation against their equations written out."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from rtseg.layers.conv import (
    BasicBlock,
    Bottleneck,
    ConvMLP,
    basic_stage,
    conv1x1,
    conv3x3,
    init_convolutions,
    preactivated,
    spatial_size,
    upsample_to,
)
from rtseg.layers.dappm import DAPPM
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD, Normalize


def randomise(module: nn.Module) -> Any:
    """Weights, biases and running statistics that hide nothing, in evaluation mode."""
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.2)
    return module.eval()


@settings(deadline=None, max_examples=25)
@given(height=st.integers(1, 40), width=st.integers(1, 40), stride=st.sampled_from([1, 2]))
def test_convolutions_round_sizes_up(height: int, width: int, stride: int) -> None:
    x = torch.randn(1, 2, height, width)
    for make in (conv3x3, conv1x1):
        assert spatial_size(make(2, 3, stride)(x)) == (math.ceil(height / stride), math.ceil(width / stride))
    assert conv3x3(2, 3).bias is None
    assert conv3x3(2, 3, bias=True).bias is not None


@pytest.mark.parametrize(("in_channels", "out_channels", "stride"), [(4, 4, 1), (4, 8, 1), (4, 4, 2), (4, 8, 2)])
@pytest.mark.parametrize("final_relu", [True, False])
def test_basic_block_is_two_convolutions_and_a_shortcut(
    in_channels: int, out_channels: int, stride: int, final_relu: bool
) -> None:
    block = randomise(BasicBlock(in_channels, out_channels, stride, final_relu=final_relu))
    x = torch.randn(2, in_channels, 9, 7)
    before = x.clone()
    residual = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    shortcut = x
    if stride != 1 or in_channels != out_channels:
        conv, norm = block.shortcut
        assert conv.kernel_size == (1, 1)
        shortcut = norm(conv(x))
    else:
        assert isinstance(block.shortcut, nn.Identity)
    expected = residual + shortcut
    y = block(x)
    torch.testing.assert_close(y, F.relu(expected) if final_relu else expected)
    assert (y < 0).any() != final_relu
    assert torch.equal(x, before)


@pytest.mark.parametrize("stride", [1, 2])
def test_bottleneck_is_three_convolutions_and_a_shortcut(stride: int) -> None:
    block = randomise(Bottleneck(4, 6, stride))
    x = torch.randn(2, 4, 9, 7)
    before = x.clone()
    kernels = [part[0].kernel_size for part in (block.reduce, block.conv, block.expand, block.shortcut)]
    assert kernels == [(1, 1), (3, 3), (1, 1), (1, 1)]
    y = block(x)
    expected = block.expand(F.relu(block.conv(F.relu(block.reduce(x))))) + block.shortcut(x)
    torch.testing.assert_close(y, expected)
    assert y.shape == (2, 12, math.ceil(9 / stride), math.ceil(7 / stride))
    assert (y < 0).any()
    assert torch.equal(x, before)


@torch.no_grad()
def test_a_bottleneck_that_keeps_the_shape_adds_its_input() -> None:
    block = randomise(Bottleneck(12, 6))
    x = torch.randn(2, 12, 9, 7)
    torch.testing.assert_close(block(x) - x, block.expand(F.relu(block.conv(F.relu(block.reduce(x))))))
    assert isinstance(block.shortcut, nn.Identity)
    assert isinstance(Bottleneck(12, 6, 2).shortcut, nn.Sequential)


def test_a_stage_strides_first_and_ends_signed() -> None:
    first, second = randomise(basic_stage(4, 8, 2))
    assert (first.conv1.stride, first.final_relu) == ((2, 2), True)
    assert (second.conv1.stride, second.final_relu) == ((1, 1), False)
    for blocks in (1, 4):
        assert [block.final_relu for block in basic_stage(4, 8, blocks=blocks)] == [True] * (blocks - 1) + [False]


def test_conv_mlp_is_norm_conv_gelu_conv() -> None:
    mlp = randomise(ConvMLP(6))
    x = torch.randn(2, 6, 5, 4)
    hidden = mlp.conv1(mlp.norm(x))
    exact_gelu = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), mlp.conv2(exact_gelu))
    assert mlp.norm.eps == 1e-6
    assert mlp.conv1.out_channels == 6
    assert mlp.conv1.bias is not None


def test_preactivated_normalises_first() -> None:
    unit = randomise(preactivated(4, conv1x1(4, 2)))
    x = torch.randn(2, 4, 3, 3)
    before = x.clone()
    norm, _, conv = unit
    torch.testing.assert_close(unit(x), conv(F.relu(norm(x))))
    assert torch.equal(x, before)


def bilinear(x: Tensor, height: int, width: int) -> Tensor:
    """Half-pixel centres, edges repeated, one output pixel at a time."""
    y = torch.empty(*x.shape[:2], height, width)
    for row in range(height):
        for column in range(width):
            v = min(max((row + 0.5) * x.shape[2] / height - 0.5, 0), x.shape[2] - 1)
            u = min(max((column + 0.5) * x.shape[3] / width - 0.5, 0), x.shape[3] - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, x.shape[2] - 1), min(left + 1, x.shape[3] - 1)
            dv, du = v - top, u - left
            upper = x[..., top, left] * (1 - du) + x[..., top, right] * du
            lower = x[..., bottom, left] * (1 - du) + x[..., bottom, right] * du
            y[..., row, column] = upper * (1 - dv) + lower * dv
    return y


@pytest.mark.parametrize("size", [(8, 12), (5, 7), (3, 4), (1, 1)])
def test_upsample_to_has_half_pixel_centres(size: tuple[int, int]) -> None:
    x = torch.randn(2, 2, 3, 4)
    torch.testing.assert_close(upsample_to(x, size), bilinear(x, *size), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(16, 16), (7, 9), (5, 2), (1, 1)])
def test_dappm_is_the_five_scales_of_the_reference(size: tuple[int, int]) -> None:
    dappm = randomise(DAPPM(6, 4, 5))
    x = torch.randn(2, 6, *size)

    def mean_of_windows(kernel: int, stride: int) -> Tensor:
        """Windows of padded zeros; the zeros count."""
        weight = torch.full((6, 1, kernel, kernel), 1 / kernel**2)
        return F.conv2d(x, weight, stride=stride, padding=kernel // 2, groups=6)

    pooled = [mean_of_windows(5, 2), mean_of_windows(9, 4), mean_of_windows(17, 8), x.mean((2, 3), keepdim=True)]
    levels = [dappm.scales[0](x)]
    for j, small in enumerate(pooled):
        up = F.interpolate(dappm.scales[j + 1](small), size=size, mode="bilinear", align_corners=False)
        levels.append(dappm.processes[j](up + levels[-1]))
    expected = dappm.compression(torch.cat(levels, 1)) + dappm.shortcut(x)
    assert expected.shape == (2, 5, *size)
    torch.testing.assert_close(dappm(x), expected, rtol=1e-4, atol=1e-4)


class Own(nn.Module):
    """Sets its own initial values."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv1x1(4, 4)
        nn.init.constant_(self.conv.weight, 7)


def test_initial_values_are_kaiming_normal_and_leave_others_alone() -> None:
    module: Any = nn.Sequential(conv3x3(64, 128, bias=True), nn.Sequential(conv1x1(256, 256), nn.BatchNorm2d(8)), Own())
    init_convolutions(module, skip=Own)
    first, (second, norm), own = module
    assert first.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)
    assert second.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)
    assert first.bias.abs().max() == 0
    assert torch.equal(norm.weight, torch.ones(8))
    assert (own.conv.weight == 7).all()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_normalize_maps_grey_levels_to_the_networks_input(dtype: torch.dtype) -> None:
    image = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = torch.tensor(IMAGENET_MEAN).view(3, 1, 1), torch.tensor(IMAGENET_STD).view(3, 1, 1)
    torch.testing.assert_close(Normalize()(image.to(dtype)), (image / 255 - mean) / std)


def test_normalize_takes_other_statistics_and_adds_nothing_to_the_weights() -> None:
    normalize = Normalize((0.0, 0.0, 0.0), (1.0, 0.5, 0.25))
    y = normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8))
    torch.testing.assert_close(y.flatten(), torch.tensor([1.0, 2.0, 4.0]))
    assert not normalize.state_dict()
    assert normalize.double()(torch.zeros(1, 3, 1, 1)).dtype == torch.float64
