"""STDC1 and STDC2: blocks that concatenate what each of their convolutions sees, so that one block spans many scales.

Fan et al., CVPR 2021, https://arxiv.org/abs/2104.13188.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rtseg.layers.conv import conv1x1, conv3x3, init_convolutions

STDC1: Sequence[int] = (2, 2, 2)  # blocks of the stages at 1/8, 1/16 and 1/32
STDC2: Sequence[int] = (4, 5, 3)

_WIDTH = 1024  # of the last map and of the hidden layer


def _unit(conv: nn.Conv2d) -> nn.Sequential:
    """The convolution, BatchNorm, ReLU: the paper's ConvX."""
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(inplace=True))


class ShortTermDense(nn.Module):
    """Four convolutions in a row, N/2, N/4, N/8 and N/8 channels wide, concatenated: (B, in, H, W) -> (B, N, ., .).

    A block of stride two halves the map after the first, 1x1 convolution: by a depthwise 3x3 for the others, by an
    average for the concatenation.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        n = out_channels
        self.first = _unit(conv1x1(in_channels, n // 2))
        self.halve: nn.Module = nn.Identity()
        self.pool: nn.Module = nn.Identity()
        if stride == 2:
            depthwise = nn.Conv2d(n // 2, n // 2, 3, 2, padding=1, groups=n // 2, bias=False)
            self.halve = nn.Sequential(depthwise, nn.BatchNorm2d(n // 2))
            self.pool = nn.AvgPool2d(3, 2, padding=1)
        widths = ((n // 2, n // 4), (n // 4, n // 8), (n // 8, n // 8))
        self.others = nn.ModuleList(_unit(conv3x3(before, after)) for before, after in widths)

    def forward(self, x: Tensor) -> Tensor:
        first = self.first(x)
        maps, x = [self.pool(first)], self.halve(first)
        for unit in self.others:
            x = unit(x)
            maps.append(x)
        return torch.cat(maps, 1)


class STDC(nn.Module):
    """(B, 3, H, W) normalised image -> (B, K) logits; the last map is at 1/32.

    Dropout of 0.2 and layers without biases as in the authors' code; which squares the map before the pooling, as the
    paper does not, nor do we.

    Args:
        blocks: of the stages at 1/8, 1/16 and 1/32, the first of each with stride two.
    """

    def __init__(self, num_classes: int, *, blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(_unit(conv3x3(3, 32, 2)), _unit(conv3x3(32, 64, 2)))
        stages: list[nn.Module] = []
        channels = 64
        for number, width in zip(blocks, (256, 512, 1024), strict=True):
            stages += [ShortTermDense(channels, width, 2)]
            stages += [ShortTermDense(width, width) for _ in range(number - 1)]
            channels = width
        self.stages = nn.Sequential(*stages)
        self.last = _unit(conv1x1(channels, _WIDTH))
        self.hidden = nn.Sequential(nn.Linear(_WIDTH, _WIDTH, bias=False), nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.fc = nn.Linear(_WIDTH, num_classes, bias=False)
        init_convolutions(self)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.hidden(self.last(self.stages(self.stem(image))).mean((2, 3))))
