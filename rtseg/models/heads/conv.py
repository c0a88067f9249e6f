"""Two convolutions over one feature map.

B batch, K classes, h, w height and width of the map.
"""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from rtseg.layers.conv import conv1x1, conv3x3, preactivated
from rtseg.models.backbone import FeatureInfo
from rtseg.models.heads.base import Head, register_head
from rtseg.options import Positive


@register_head("conv")
class ConvHead(Head):
    """One map -> (B, K, h, w): BatchNorm, ReLU, 3x3, BatchNorm, ReLU, 1x1.

    Args:
        map: name of the map; None: the finest, of several the first.
        head_channels: channels of the 3x3; None: as many as the map has.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        num_classes: int,
        *,
        map: str | None = None,
        head_channels: Positive | None = None,
    ) -> None:
        super().__init__(features, num_classes)
        self.map = map or min(features, key=lambda name: features[name].stride)
        in_channels, self.stride = features[self.map]
        hidden_channels = head_channels or in_channels
        self.hidden = preactivated(in_channels, conv3x3(in_channels, hidden_channels))
        self.classify = preactivated(hidden_channels, conv1x1(hidden_channels, num_classes, bias=True))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        return self.classify(self.hidden(features[self.map]))

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`."""
        yield self.hidden, self.classify
