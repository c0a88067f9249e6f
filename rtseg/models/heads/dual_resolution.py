"""The head of RTFormer and DDRNet: two feature maps in, logits at the size of the finer one out.

B batch, K classes, h, w height and width of the finer map.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rtseg.layers.conv import spatial_size, upsample_to
from rtseg.layers.dappm import DAPPM
from rtseg.models.backbone import FeatureInfo, Fusion
from rtseg.models.heads.conv import ConvHead


class DualResolutionHead(nn.Module):
    """Pyramid context of the low branch, joined to the high branch, then classified: features -> (B, K, h, w).

    Args:
        fusion: see `Backbone`. Concatenated maps are twice as wide, and so is the classifier.
        hidden_channels: of the classifier's 3x3, where the maps are added.
        spp_channels: of each of DAPPM's scales.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        num_classes: int,
        *,
        fusion: Fusion,
        hidden_channels: int,
        spp_channels: int,
    ) -> None:
        super().__init__()
        high = features["high"].channels
        self.fusion = fusion
        self.context = DAPPM(features["low"].channels, spp_channels, high)
        maps = 2 if fusion == "concatenate" else 1
        self.classifier = ConvHead(maps * high, maps * hidden_channels, num_classes)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        high = features["high"]
        context = upsample_to(self.context(features["low"]), spatial_size(high))
        return self.classifier(torch.cat([high, context], 1) if self.fusion == "concatenate" else high + context)
