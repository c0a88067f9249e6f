"""Heads: the backbone's feature maps in, logits out; one a file."""

from rtseg.models.heads.conv import ConvHead
from rtseg.models.heads.dual_resolution import DualResolutionHead

__all__ = ["ConvHead", "DualResolutionHead"]
