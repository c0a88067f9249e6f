"""Heads between a backbone's maps and the linear layer of a classifier, found by the name that the backbone gives.

B batch; c base channels of the backbone.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.checks import check_one_of
from rtseg.errors import UserError
from rtseg.layers.conv import conv1x1, conv3x3, init_convolutions, preactivated
from rtseg.models.backbone import Backbone, FeatureInfo
from rtseg.registry import Registry


class ClassifierHead(nn.Module):
    """The backbone's maps -> (B, out_channels), one vector an image.

    Attributes:
        out_channels: length of the vector.
    """

    out_channels: int

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError


_HEADS: Registry[Callable[..., ClassifierHead]] = Registry("classifier head")


def create_head(backbone: Backbone) -> ClassifierHead:
    """The head that a backbone asks for, with fresh weights.

    Raises:
        UserError: unknown name, or an option or a map that does not fit it.
    """
    name, options = backbone.classifier_head
    return _HEADS.get(name)(backbone.features, **options)


@_HEADS.register("pooled")
class PooledHead(ClassifierHead):
    """Means over all positions, side by side.

    Args:
        maps: whose means; the coarsest map where there is none (of equally coarse ones the last).
    """

    def __init__(self, features: Mapping[str, FeatureInfo], *, maps: Sequence[str] = ()) -> None:
        super().__init__()
        coarsest = max(reversed([*features]), key=lambda name: features[name].stride)
        self.maps = tuple(maps) or (coarsest,)
        for name in self.maps:
            check_one_of("maps", name, tuple(features))
        self.out_channels = sum(features[name].channels for name in self.maps)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([features[name].mean((2, 3)) for name in self.maps], 1)


@_HEADS.register("joined")
class JoinedHead(ClassifierHead):
    """DDRNet's authors' own: the map "high" comes down to "low", then a 1x1 to twice the channels: 32 c.

    Args:
        features: 4 c channels at 1/8, 16 c at 1/32.

    Raises:
        UserError: "low" is at another stride than 1/32.
    """

    def __init__(self, features: Mapping[str, FeatureInfo]) -> None:
        super().__init__()
        if (stride := features["low"].stride) != 32:
            raise UserError(f"low_stride={stride} is for segmentation: a classifier's DDRNet has 32, or leave it out")
        high, low = features["high"].channels, features["low"].channels
        self.out_channels = 2 * low
        self.high_to_low = nn.Sequential(
            conv3x3(high, low // 2, 2), nn.BatchNorm2d(low // 2), nn.ReLU(inplace=True),
            conv3x3(low // 2, low, 2), nn.BatchNorm2d(low),
        )  # fmt: skip
        self.widen = nn.Sequential(
            conv1x1(low, self.out_channels), nn.BatchNorm2d(self.out_channels), nn.ReLU(inplace=True)
        )
        init_convolutions(self)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        joined = features["low"] + self.high_to_low(F.relu(features["high"]))
        return self.widen(F.relu(joined)).mean((2, 3))


@_HEADS.register("injected")
class InjectedHead(ClassifierHead):
    """Ours: the map "high" is added to "low" as RTFormer's blocks do it, then a 3x3: 8 c.

    Of the authors' head nothing is known but the sums of Table 2, which this one meets within 3 %.

    Args:
        features: 2 c channels at 1/8, 8 c at 1/32.
        inject: False where the backbone has added "high" itself.
    """

    def __init__(self, features: Mapping[str, FeatureInfo], *, inject: bool = True) -> None:
        super().__init__()
        high, low = features["high"].channels, features["low"].channels
        self.out_channels = low
        self.high_to_low: nn.Module | None = None
        if inject:
            self.high_to_low = nn.Sequential(
                preactivated(high, conv3x3(high, low // 2, 2)), preactivated(low // 2, conv3x3(low // 2, low, 2))
            )
        self.mix = nn.Sequential(conv3x3(low, low), nn.BatchNorm2d(low), nn.ReLU(inplace=True))
        init_convolutions(self)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        low = features["low"]
        if self.high_to_low is not None:
            low = low + self.high_to_low(features["high"])
        return self.mix(F.relu(low)).mean((2, 3))
