"""The head of RTFormer and DDRNet: two feature maps in, logits at the size of the finer one out.

B batch, K classes, h, w height and width of the finer map.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from rtseg.layers.conv import spatial_size, upsample_to
from rtseg.layers.dappm import DAPPM
from rtseg.models.backbone import FeatureInfo
from rtseg.models.heads.base import Head, register_head
from rtseg.models.heads.conv import ConvHead
from rtseg.options import Positive


@register_head("dual_resolution")
class DualResolutionHead(Head):
    """Pyramid context of the map "low", joined to the map "high", then classified -> (B, K, h, w).

    Args:
        fusion: how the context, as wide as "high", is joined to it. With "concatenate" the classifier is twice as wide.
        head_channels: channels of the classifier's 3x3 where the maps are added; None: as many as "high" has.
        spp_channels: channels of each of DAPPM's scales.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        num_classes: int,
        *,
        fusion: Literal["concatenate", "add"] = "concatenate",
        head_channels: Positive | None = None,
        spp_channels: Positive = 128,
    ) -> None:
        super().__init__(features, num_classes)
        high, self.stride = features["high"]
        self.fusion = fusion
        self.context = DAPPM(features["low"].channels, spp_channels, high)
        maps = 2 if fusion == "concatenate" else 1
        joined = {"joined": FeatureInfo(maps * high, self.stride)}
        self.classifier = ConvHead(joined, num_classes, head_channels=maps * (head_channels or high))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        high = features["high"]
        context = upsample_to(self.context(features["low"]), spatial_size(high))
        joined = torch.cat([high, context], 1) if self.fusion == "concatenate" else high + context
        return self.classifier({"joined": joined})
