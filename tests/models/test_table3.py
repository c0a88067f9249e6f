"""Every row of RTFormer's Table 3: parameters and multiply-adds of the network, and the attention's own parameters."""

from typing import Any

import pytest
import torch
from torch import nn

from rtseg.attention.base import Attention
from rtseg.models import create_model
from rtseg.speed.benchmark import count_macs

# attention, options -> millions of parameters in training and in use, the attention's own in the low and the high
# branch, multiply-adds (G) at 512x512 with 150 classes.
ROWS = [
    ("sa", {}, 5.357, 5.310, 428_032, 164_736, 4.980),
    ("ea:ratio=0.125", {}, 4.768, 4.722, 3_584, 1_024, 4.447),
    ("ea:ratio=0.25", {}, 4.773, 4.726, 7_168, 2_048, 4.462),
    ("ea:ratio=1", {}, 4.801, 4.754, 28_672, 8_192, 4.557),
    ("ea:ratio=1", {"base_channels": 36, "head_channels": 64}, 5.854, 5.803, 36_288, 10_368, 5.610),
    ("la:grid=16+la:grid=64", {}, 9.680, 9.633, 688_640, 4_227_200, 5.345),
    ("la", {}, 5.748, 5.701, 688_640, 295_040, 5.094),
    ("la:k=64:grid=16+la:k=64:grid=64", {}, 6.337, 6.290, 492_032, 1_081_472, 4.842),
    ("na:landmarks=32", {}, 5.223, 5.176, 426_496, 32_896, 4.775),
    ("na:landmarks=64", {}, 5.223, 5.176, 426_496, 32_896, 4.973),
    ("gfa", {}, 5.010, 4.963, 229_376, 16_384, 4.557),
    ("gfa+ca", {}, 5.060, 5.013, 229_376, 66_560, 4.561),
    ("gfa+ca:cross_size=12", {}, 5.060, 5.013, 229_376, 66_560, 4.650),
    ("fa", {}, 4.993, 4.946, 212_992, 16_384, 4.563),
    ("fa+ca", {}, 5.043, 4.997, 212_992, 66_560, 4.559),
]


def numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("attention", "options", "training", "use", "low", "high", "gmacs"), ROWS, ids=[f"{r[0]}{r[1] or ''}" for r in ROWS]
)
def test_row(
    attention: str, options: dict[str, Any], training: float, use: float, low: int, high: int, gmacs: float
) -> None:
    with torch.device("meta"):
        network = create_model("rtformer_slim", 150, attention=attention, **options)
    own = {name: numel(module) for name, module in network.backbone.named_modules() if isinstance(module, Attention)}
    assert numel(network) / 1e6 == pytest.approx(training, abs=6e-4)
    assert (numel(network) - numel(network.aux_head)) / 1e6 == pytest.approx(use, abs=6e-4)
    assert sum(count for name, count in own.items() if "low" in name) == low
    assert sum(count for name, count in own.items() if "high" in name) == high
    assert count_macs(network, (512, 512)) / 1e9 == pytest.approx(gmacs, abs=6e-4)
