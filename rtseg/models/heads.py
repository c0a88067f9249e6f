"""Heads: the backbone's feature maps in, logits at stride 8 out.

B batch, K classes, h, w height and width at stride 8.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from rtseg.layers.conv import conv1x1, conv3x3, preactivated, spatial_size, upsample_to
from rtseg.layers.dappm import DAPPM
from rtseg.models.backbone import FeatureInfo, Fusion


class ConvHead(nn.Module):
    """One feature map -> (B, K, h, w): BatchNorm, ReLU, 3x3, BatchNorm, ReLU, 1x1. Also the auxiliary head."""

    def __init__(self, in_channels: int, hidden_channels: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = preactivated(in_channels, conv3x3(in_channels, hidden_channels))
        self.classify = preactivated(hidden_channels, conv1x1(hidden_channels, num_classes, bias=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.hidden(x))

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`."""
        yield self.hidden, self.classify


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
