"""Deep aggregation pyramid pooling (DAPPM): context of five sizes, each refined by the smaller one before it.

DDRNet, Hong et al., https://arxiv.org/abs/2101.06085; RTFormer uses it unchanged with 128 channels a scale.
"""

import torch
from torch import Tensor, nn

from rtseg.layers.conv import conv1x1, conv3x3, preactivated, spatial_size, upsample_to


class DAPPM(nn.Module):
    """(B, in, H, W) -> (B, out, H, W).

    Args:
        hidden_channels: channels of each of the five scales.
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()

        def scale() -> nn.Sequential:
            return preactivated(in_channels, conv1x1(in_channels, hidden_channels))

        # Padding zeros count in the average (count_include_pad), as in the published weights.
        self.pools = nn.ModuleList(
            [nn.AvgPool2d(2 * stride + 1, stride, stride) for stride in (2, 4, 8)] + [nn.AdaptiveAvgPool2d(1)]
        )
        self.scales = nn.ModuleList(scale() for _ in range(5))
        self.processes = nn.ModuleList(
            preactivated(hidden_channels, conv3x3(hidden_channels, hidden_channels)) for _ in range(4)
        )
        self.compression = preactivated(5 * hidden_channels, conv1x1(5 * hidden_channels, out_channels))
        self.shortcut = preactivated(in_channels, conv1x1(in_channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        levels = [self.scales[0](x)]
        for pool, scale, process in zip(self.pools, self.scales[1:], self.processes, strict=True):
            levels.append(process(upsample_to(scale(pool(x)), spatial_size(x)) + levels[-1]))
        return self.compression(torch.cat(levels, 1)) + self.shortcut(x)
