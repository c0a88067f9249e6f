"""The semantic branch of Panoptic FPN: all levels of an FPN are brought to the finest one's size and added.

Kirillov et al., https://arxiv.org/abs/1901.02446, section 3 and figure 3.

B batch, K classes, h, w height and width of the finest level.
"""

import math
from collections.abc import Mapping, Sequence
from typing import cast

from torch import Tensor, nn

from rtseg.checks import check_at_least
from rtseg.layers.conv import conv1x1, conv3x3, spatial_size, upsample_to
from rtseg.models.backbone import FeatureInfo
from rtseg.models.fpn import FPN, not_finer
from rtseg.models.heads.base import Head, register_head
from rtseg.options import Positive

GROUPS = 32  # of GroupNorm, where each has at least 4 channels


@register_head("semantic_fpn")
class SemanticFPNHead(Head):
    """Maps of stride 4 and more -> (B, K, h, w), usually at stride 4.

    Each level gets a 3x3, GroupNorm, ReLU and bilinear upsampling to the next finer level, until it is as fine as the
    finest, which has one 3x3. Their sum is classified by a 1x1. Maps finer than stride 4 are not read where there are
    others.

    Args:
        fpn_channels: channels of each level of the FPN.
        head_channels: channels of each 3x3 behind it; None: 128, the authors'.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        num_classes: int,
        *,
        fpn_channels: Positive = 256,
        head_channels: Positive | None = None,
    ) -> None:
        super().__init__(features, num_classes)
        self.fpn = FPN(not_finer(features), fpn_channels)
        width = head_channels or 128
        check_at_least("head_channels", width, 2, "GroupNorm needs two values, also of a map of one position")
        self.levels = tuple(self.fpn.levels)
        self.stride = self.fpn.levels[self.levels[0]].stride
        self.steps = nn.ModuleDict(
            {level: _steps(fpn_channels, width, max(1, finer)) for finer, level in enumerate(self.levels)}
        )
        self.classify = conv1x1(width, num_classes, bias=True)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        levels = self.fpn(features)
        sizes = [spatial_size(levels[level]) for level in self.levels]
        joined = self._finest(levels[self.levels[0]], self.levels[0], [])
        for finer, level in enumerate(self.levels[1:], 1):
            joined = joined + self._finest(levels[level], level, sizes[:finer])
        return self.classify(joined)

    def _finest(self, x: Tensor, level: str, sizes: Sequence[tuple[int, int]]) -> Tensor:
        """A level at the finest one's size.

        Args:
            sizes: of all finer levels, the finest first.
        """
        steps = cast(nn.ModuleList, self.steps[level])
        if not sizes:
            return steps[0](x)
        for step, size in zip(steps, reversed(sizes), strict=True):
            x = upsample_to(step(x), size)
        return x


def _steps(in_channels: int, channels: int, number: int) -> nn.ModuleList:
    widths = [in_channels, *[channels] * (number - 1)]
    return nn.ModuleList(
        nn.Sequential(
            conv3x3(width, channels), nn.GroupNorm(math.gcd(GROUPS, max(1, channels // 4)), channels), nn.ReLU(True)
        )
        for width in widths
    )
