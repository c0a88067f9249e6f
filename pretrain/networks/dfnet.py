"""DF1 and DF2, the "Dongfeng" networks: ResNet's two-convolution blocks, placed by a search for accuracy at a latency.

Li et al., CVPR 2019, https://arxiv.org/abs/1903.03777. The authors state 746 M and 1.77 G multiply-adds at 224x224.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from rtseg.layers.conv import BasicBlock, conv3x3, init_convolutions

Stage = tuple[int, int, int]  # blocks, channels, stride of the first block

DF1: Sequence[Stage] = ((3, 64, 2), (3, 128, 2), (3, 256, 2), (1, 512, 1))
DF2: Sequence[Stage] = ((2, 64, 2), (1, 128, 1), (10, 128, 2), (1, 256, 1), (4, 256, 2), (2, 512, 1))


class DFNet(nn.Module):
    """(B, 3, H, W) normalised image -> (B, K) logits; the last map is at 1/32.

    Args:
        stages: after the stem, which ends with 64 channels at 1/4.
    """

    def __init__(self, num_classes: int, *, stages: Sequence[Stage]) -> None:
        super().__init__()
        channels = 64
        self.stem = nn.Sequential(
            conv3x3(3, 32, 2), nn.BatchNorm2d(32), nn.ReLU(inplace=True),
            conv3x3(32, channels, 2), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
        )  # fmt: skip
        blocks: list[nn.Module] = []
        for number, width, stride in stages:
            blocks += [BasicBlock(channels, width, stride), *(BasicBlock(width, width) for _ in range(number - 1))]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes)
        init_convolutions(self)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(image)).mean((2, 3)))
