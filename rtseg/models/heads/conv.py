"""Two convolutions over one feature map.

B batch, K classes, h, w height and width of the map.
"""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from rtseg.layers.conv import conv1x1, conv3x3, preactivated


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
