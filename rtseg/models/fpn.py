"""Feature pyramid network: every level as wide as the others, each with what the coarser ones know.

Lin et al., https://arxiv.org/abs/1612.03144. A 1x1 brings each map to one width, the coarser level is added after
nearest upsampling, and a 3x3 gives the level. Level pN has the stride 2^N.

B batch, C channels of every level.
"""

import math
from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention.insertion import HasPlaces
from rtseg.layers.conv import conv1x1, conv3x3, spatial_size
from rtseg.layers.feature_info import FeatureInfo

FINEST = 4  # stride of the finest map that is worth its time


def not_finer(features: Mapping[str, FeatureInfo]) -> dict[str, FeatureInfo]:
    """The maps of stride 4 and more; all where there are no such maps."""
    return {name: info for name, info in features.items() if info.stride >= FINEST} or dict(features)


class FPN(HasPlaces):
    """Maps by name -> levels "p2", "p3", ... by name, fine to coarse, each (B, C, ceil(H / stride), ceil(W / stride)).

    Of several maps of one stride the first is read. Attention can be inserted at each level, as "fpn.p2": behind its
    3x3, as Shen et al. (https://arxiv.org/abs/1812.01243) do, and before the extra level is made of the coarsest.

    Args:
        features: width and stride of the maps.
        channels: C.
        extra_level: one more level of twice the coarsest stride: every second value of that level.

    Attributes:
        levels: width and stride of each level.
    """

    prefix = "fpn."

    def __init__(self, features: Mapping[str, FeatureInfo], channels: int = 256, *, extra_level: bool = False) -> None:
        super().__init__()
        maps: dict[int, str] = {}
        for name, info in features.items():
            maps.setdefault(info.stride, name)
        self.maps = {_level(stride): maps[stride] for stride in sorted(maps)}
        self.levels = {level: FeatureInfo(channels, features[name].stride) for level, name in self.maps.items()}
        self.lateral = nn.ModuleDict(
            {level: conv1x1(features[name].channels, channels, bias=True) for level, name in self.maps.items()}
        )
        self.output = nn.ModuleDict({level: conv3x3(channels, channels, bias=True) for level in self.maps})
        self.extra = ""
        if extra_level:
            coarsest = 2 * max(maps)
            self.extra = _level(coarsest)
            self.levels[self.extra] = FeatureInfo(channels, coarsest)
        self.places = dict(self.levels)

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        levels: dict[str, Tensor] = {}
        joined: Tensor | None = None
        for level, name in reversed(self.maps.items()):
            lateral = self.lateral[level](features[name])
            joined = lateral if joined is None else lateral + F.interpolate(joined, size=spatial_size(lateral))
            levels[level] = self.at(level, self.output[level](joined))
        if self.extra:
            levels[self.extra] = self.at(self.extra, F.max_pool2d(levels[next(iter(levels))], 1, 2))
        return {level: levels[level] for level in self.levels}


def _level(stride: int) -> str:
    return f"p{round(math.log2(stride))}"
