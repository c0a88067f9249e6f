"""What a feature map of a network is."""

from typing import NamedTuple


class FeatureInfo(NamedTuple):
    """Width and stride of one feature map; the stride is in image pixels."""

    channels: int
    stride: int
