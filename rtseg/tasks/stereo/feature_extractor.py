"""PSMNet's feature extractor (Chang and Chen, "Pyramid Stereo Matching Network", https://arxiv.org/abs/1803.08669): a
residual network at a quarter of the image's size, and a pyramid of average pools.

B batch, H, W height and width of the image, both multiples of 16.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.insertion import HasPlaces
from rtseg.layers.conv import spatial_size
from rtseg.layers.feature_info import FeatureInfo

STRIDE = 4
FEATURES = 32  # channels of the result
LARGEST_POOL = 64
_POOLS = (LARGEST_POOL, 32, 16, 8)  # sides of the windows


def conv_bn(in_channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A padded convolution and BatchNorm: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """`conv_bn` and ReLU."""
    return nn.Sequential(conv_bn(in_channels, out_channels, kernel, stride), nn.ReLU(inplace=True))


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut. Unlike ResNet's, there is no ReLU behind the sum."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = conv_bn(in_channels, out_channels, 3, stride, dilation)
        self.conv2 = conv_bn(out_channels, out_channels, 3, 1, dilation)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = conv_bn(in_channels, out_channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x), inplace=True)) + self.shortcut(x)


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = Block(in_channels, out_channels, stride, dilation)
    return nn.Sequential(first, *(Block(out_channels, out_channels, 1, dilation) for _ in range(blocks - 1)))


class FeatureExtractor(HasPlaces):
    """(B, 3, H, W) normalised image -> (B, 32, H / 4, W / 4).

    Args:
        align_corners: how the pools are upsampled, see `PSMNet`.
    """

    places: Mapping[str, FeatureInfo] = {
        "layer1": FeatureInfo(32, 2), "layer2": FeatureInfo(64, STRIDE), "layer3": FeatureInfo(128, STRIDE),
        "layer4": FeatureInfo(128, STRIDE), "features": FeatureInfo(FEATURES, STRIDE),
    }  # fmt: skip

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stem = nn.Sequential(conv_bn_relu(3, 32, 3, 2), conv_bn_relu(32, 32, 3), conv_bn_relu(32, 32, 3))
        self.layer1 = _stage(32, 32, 3)
        self.layer2 = _stage(32, 64, 16, stride=2)
        self.layer3 = _stage(64, 128, 3)
        self.layer4 = _stage(128, 128, 3, dilation=2)
        self.pools = nn.ModuleList(conv_bn_relu(128, 32, 1) for _ in _POOLS)
        self.fuse = nn.Sequential(conv_bn_relu(64 + 128 + 4 * 32, 128, 3), nn.Conv2d(128, FEATURES, 1, bias=False))

    def forward(self, image: Tensor) -> Tensor:
        x = self.at("layer1", self.layer1(self.stem(image)))
        middle = self.at("layer2", self.layer2(x))
        deep = self.at("layer4", self.layer4(self.at("layer3", self.layer3(middle))))
        pools = [self._pooled(deep, side, conv) for side, conv in zip(_POOLS, self.pools, strict=True)]
        return self.at("features", self.fuse(torch.cat([middle, deep, *reversed(pools)], 1)))

    def _pooled(self, x: Tensor, side: int, conv: nn.Module) -> Tensor:
        # The authors' network takes no map smaller than its largest window; here it is the whole map then.
        height, width = spatial_size(x)
        pooled = conv(F.avg_pool2d(x, (min(side, height), min(side, width))))
        return F.interpolate(pooled, (height, width), mode="bilinear", align_corners=self.align_corners)
