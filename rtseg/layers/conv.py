"""Convolution blocks of the dual-resolution networks, and their initialisation.

B batch, C channels, H, W height and width.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """3x3, padded by one: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """1x1: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
    return nn.Conv2d(in_channels, out_channels, 1, stride, bias=bias)


def preactivated(in_channels: int, conv: nn.Conv2d) -> nn.Sequential:
    """BatchNorm, ReLU, then the convolution: the unit of DAPPM, of the heads and of the paths between the branches."""
    return nn.Sequential(nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True), conv)


def upsample_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize to `size` = (height, width), half-pixel centres (align_corners=False)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def spatial_size(x: Tensor) -> tuple[int, int]:
    """(height, width) of a feature map."""
    return cast(tuple[int, int], tuple(x.shape[-2:]))


class BasicBlock(nn.Module):
    """ResNet's two-convolution block; `final_relu=False` leaves the sum signed for branches that normalise it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, final_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
        self.final_relu = final_relu

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return F.relu(out, inplace=True) if self.final_relu else out

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`."""
        yield self.conv1, self.bn1
        yield self.conv2, self.bn2


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 to twice the channels, BatchNorm after each, plus a shortcut; the sum stays signed.

    (B, in, H, W) -> (B, 2 * channels, ceil(H / stride), ceil(W / stride)). The shortcut is the input where that has the
    same shape; else it is projected.
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.reduce = nn.Sequential(conv1x1(in_channels, channels), nn.BatchNorm2d(channels))
        self.conv = nn.Sequential(conv3x3(channels, channels, stride), nn.BatchNorm2d(channels))
        self.expand = nn.Sequential(conv1x1(channels, 2 * channels), nn.BatchNorm2d(2 * channels))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != 2 * channels:
            self.shortcut = nn.Sequential(conv1x1(in_channels, 2 * channels, stride), nn.BatchNorm2d(2 * channels))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.reduce(x), inplace=True)
        out = F.relu(self.conv(out), inplace=True)
        return self.expand(out) + self.shortcut(x)


def stem(channels: int) -> nn.Sequential:
    """Two strided 3x3, each with BatchNorm and ReLU: (B, 3, H, W) -> (B, channels, ceil(H / 4), ceil(W / 4))."""
    return nn.Sequential(
        conv3x3(3, channels, 2, bias=True), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
        conv3x3(channels, channels, 2, bias=True), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
    )  # fmt: skip


def basic_stage(in_channels: int, out_channels: int, stride: int = 1, *, blocks: int = 2) -> nn.Sequential:
    """`BasicBlock`s, the sum of the last one signed: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride)).

    Args:
        blocks: how many, at least 1.
    """
    first = BasicBlock(in_channels, out_channels, stride, final_relu=blocks > 1)
    others = (BasicBlock(out_channels, out_channels, final_relu=k < blocks) for k in range(2, blocks + 1))
    return nn.Sequential(first, *others)


class ConvMLP(nn.Module):
    """RTFormer's feed-forward part: BatchNorm (eps 1e-6), 3x3, GELU, 3x3, no expansion. (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, eps=1e-6)
        self.conv1 = conv3x3(channels, channels, bias=True)
        self.conv2 = conv3x3(channels, channels, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.gelu(self.conv1(self.norm(x))))


def init_convolutions(module: nn.Module, *, skip: type[nn.Module] | tuple[()] = ()) -> None:
    """Kaiming-normal (fan in, ReLU) for every convolution below `module`, biases 0; `skip` initialises its own."""
    if isinstance(module, skip):
        return
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    for child in module.children():
        init_convolutions(child, skip=skip)
