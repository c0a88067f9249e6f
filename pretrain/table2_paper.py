"""The figures of RTFormer's Table 2, as its appendix prints them, and why ours round to others."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PaperRow:
    """What the paper prints about a network.

    Attributes:
        parameters: millions.
        macs: 10^9, at 224x224.
        top1: per cent, the paper's alone.
        difference: why ours rounds to another figure; empty where it does not. The tests count every number in it.
    """

    parameters: float
    macs: float
    top1: float
    difference: str = ""


PAPER: Mapping[str, PaperRow] = {
    "resnet18": PaperRow(11.2, 1.8, 69.0, "the paper leaves the linear layer out: 11.18 M without it"),
    "resnet50": PaperRow(
        23.5, 3.7, 75.3,
        "the paper leaves the linear layer out: 23.51 M without it; timm's strides in the 3x3: in the 1x1, as first "
        "published, 3.86 G, or without the shortcuts' projections 3.73 G; where 3.7 comes from is unknown",
    ),
    "df1": PaperRow(8.0, 0.7, 69.8, "the paper leaves the linear layer out: 8.02 M without it"),
    "df2": PaperRow(
        17.5, 1.7, 73.9, "the paper leaves the linear layer out: 17.47 M without it; 1.77 G, cut off instead of rounded"
    ),
    "mobilenetv2": PaperRow(3.4, 0.3, 72.0, "3.47 M without BatchNorm, cut off instead of rounded"),
    "mobilenetv3": PaperRow(5.4, 0.2, 75.2, "5.48 M, cut off instead of rounded"),
    "efficientnet_b0": PaperRow(5.3, 0.4, 76.3),
    "stdc1": PaperRow(8.4, 0.8, 73.9),
    "stdc2": PaperRow(12.5, 1.4, 76.4),
    "ddrnet_23_slim": PaperRow(7.6, 1.0, 70.2),
    "ddrnet_23": PaperRow(28.2, 3.9, 75.9),
    "rtformer_slim": PaperRow(5.3, 0.8, 72.3, "the head is ours, the authors' is unknown"),
    "rtformer_base": PaperRow(
        20.5, 3.0, 77.4,
        "the head is ours, the authors' is unknown; 3.03 G without the products of the cross-resolution attention, "
        "which counters of layers miss",
    ),
}  # fmt: skip
"""In the paper's order."""
