"""DDRNet: two branches of convolutions at two resolutions, which exchange their maps after stages 3 and 4.

Hong et al., https://arxiv.org/abs/2101.06085. The layers are those of the authors' implementation; tests compare
the number of parameters with it. Initial values are those of the other networks here. Every stride of two rounds sizes
up.

c base channels (32 slim, 64 for DDRNet-23); the high branch has 2c channels at 1/8, 4c at its end; the low one 4c at
1/16, 8c at 1/32, 16c at its end.
"""

from functools import partial
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.layers.conv import (
    Bottleneck,
    basic_stage,
    conv1x1,
    conv3x3,
    init_convolutions,
    spatial_size,
    stem,
    upsample_to,
)
from rtseg.models.backbone import Auxiliary, Backbone, ClassifierHead, FeatureInfo, register_backbone
from rtseg.options import Positive


class BilateralFusion(nn.Module):
    """h (B, widths[0], H, W), l (B, widths[-1], ., .) -> the same, each plus the other as it came in.

    Args:
        widths: channels along the path from high to low, which halves the size with each step.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.low_to_high = nn.Sequential(conv1x1(widths[-1], widths[0]), nn.BatchNorm2d(widths[0]))
        steps: list[nn.Module] = []
        for in_channels, out_channels in pairwise(widths):
            steps += [conv3x3(in_channels, out_channels, 2), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        self.high_to_low = nn.Sequential(*steps[:-1])

    def forward(self, h: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        high = h + upsample_to(self.low_to_high(F.relu(l)), spatial_size(h))
        return high, l + self.high_to_low(F.relu(h))


class DDRNet(Backbone):
    """DDRNet's backbone: stem and two stages in common, then three stages in each branch.

    Args:
        base_channels: c.
        low_stride: stride of the last low map. The authors segment with 64 and classify with 32.
    """

    head = "dual_resolution"
    head_options = {"fusion": "add"}
    outputs = {"aux": Auxiliary("aux", weight=0.4)}
    classifier_head = ClassifierHead("joined")
    classifier_options = {"low_stride": 32}

    def __init__(self, *, base_channels: Positive, low_stride: Positive = 64) -> None:
        super().__init__()
        if low_stride not in (32, 64):
            raise UserError(f"low_stride={low_stride} must be 64, as in DDRNet's segmentation, or 32")
        c = base_channels
        self.head_options = {**self.head_options, "head_channels": 2 * c}
        self.features = {
            "high": FeatureInfo(4 * c, 8), "low": FeatureInfo(16 * c, low_stride), "aux": FeatureInfo(2 * c, 8)
        }  # fmt: skip

        self.places = {
            "stage1": FeatureInfo(c, 4), "stage2": FeatureInfo(2 * c, 8),
            "stage3": FeatureInfo(4 * c, 16), "stage3_high": FeatureInfo(2 * c, 8),
            "stage4": FeatureInfo(8 * c, 32), "stage4_high": FeatureInfo(2 * c, 8),
            "stage5": FeatureInfo(16 * c, low_stride), "stage5_high": FeatureInfo(4 * c, 8),
        }  # fmt: skip

        self.stem = stem(c)
        self.stage1 = basic_stage(c, c)
        self.stage2 = basic_stage(c, 2 * c, 2)
        self.stage3 = basic_stage(2 * c, 4 * c, 2)
        self.stage3_high = basic_stage(2 * c, 2 * c)
        self.fusion3 = BilateralFusion(2 * c, 4 * c)
        self.stage4 = basic_stage(4 * c, 8 * c, 2)
        self.stage4_high = basic_stage(2 * c, 2 * c)
        self.fusion4 = BilateralFusion(2 * c, 4 * c, 8 * c)
        self.stage5 = Bottleneck(8 * c, 8 * c, low_stride // 32)
        self.stage5_high = Bottleneck(2 * c, 2 * c)
        init_convolutions(self)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x1 = self.at("stage1", self.stage1(self.stem(image)))
        common = F.relu(self.at("stage2", self.stage2(F.relu(x1))))
        high3, low3 = self.at("stage3_high", self.stage3_high(common)), self.at("stage3", self.stage3(common))
        high3, low3 = self.fusion3(high3, low3)
        high4 = self.at("stage4_high", self.stage4_high(F.relu(high3)))
        high4, low4 = self.fusion4(high4, self.at("stage4", self.stage4(F.relu(low3))))
        high5 = self.at("stage5_high", self.stage5_high(F.relu(high4)))
        return {"high": high5, "low": self.at("stage5", self.stage5(F.relu(low4))), "aux": high3}


register_backbone("ddrnet_23_slim")(partial(DDRNet, base_channels=32))
register_backbone("ddrnet_23")(partial(DDRNet, base_channels=64))
