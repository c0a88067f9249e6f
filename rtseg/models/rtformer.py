"""RTFormer: two resolutions side by side, convolution blocks first, then blocks of attention and convolution.

Wang et al., NeurIPS 2022, https://arxiv.org/abs/2210.07124. The equations are those of the authors' implementation;
tests compare the numbers with it.

c base channels (32 slim, 64 base); h the high branch (2c channels at 1/8), l the low branch (8c at 1/32). Every stride
of two rounds sizes up.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.attention import Attention, AttentionSpec, create_attention
from rtseg.attention.build import resolve_attention
from rtseg.errors import UserError
from rtseg.layers.conv import (
    BasicBlock,
    ConvMLP,
    basic_stage,
    conv1x1,
    conv3x3,
    init_convolutions,
    preactivated,
    spatial_size,
    stem,
    upsample_to,
)
from rtseg.layers.drop_path import DropPath
from rtseg.models.backbone import Auxiliary, Backbone, ClassifierHead, FeatureInfo, register_backbone
from rtseg.options import Positive


class RTFormerBlock(nn.Module):
    """Attention and a convolution MLP in each branch; the high branch reads the block's finished low branch
    ("stepped").

    h (B, high, H, W), l (B, low_in, ., .) -> h of the same shape, l (B, low, ., .), at half the size where low_in !=
    low. Neither is rectified.

    Args:
        injection: whether the finished high branch is added back to the low one.
        drop_path: probability that a residual branch is dropped for a sample.
    """

    def __init__(
        self,
        high_channels: int,
        low_in_channels: int,
        low_channels: int,
        *,
        low_attention: AttentionSpec,
        high_attention: AttentionSpec,
        injection: bool,
        drop_path: float,
    ) -> None:
        super().__init__()
        widens = low_in_channels != low_channels
        self.low_shortcut: nn.Module = nn.Identity()
        if widens:
            shortcut = conv1x1(low_in_channels, low_channels, 2)
            self.low_shortcut = nn.Sequential(nn.BatchNorm2d(low_in_channels), shortcut)
        self.low_norm = nn.BatchNorm2d(low_in_channels)
        self.low_attention = create_attention(
            low_attention, low_in_channels, low_channels, stride=2 if widens else 1, branch="low"
        )
        self.low_mlp = ConvMLP(low_channels)
        self.low_to_high = preactivated(low_channels, conv1x1(low_channels, high_channels))
        self.high_norm = nn.BatchNorm2d(high_channels)
        self.high_attention = create_attention(
            high_attention, high_channels, context_channels=low_channels, branch="high"
        )
        self.high_mlp = ConvMLP(high_channels)
        self.high_to_low: nn.Module | None = None
        if injection:
            half = low_channels // 2
            self.high_to_low = nn.Sequential(
                preactivated(high_channels, conv3x3(high_channels, half, 2)),
                preactivated(half, conv3x3(half, low_channels, 2)),
            )
        self.drop_path = DropPath(drop_path)

    def forward(self, h: Tensor, l: Tensor) -> tuple[Tensor, Tensor]:  # noqa: E741
        low = self.low_shortcut(l) + self.drop_path(self.low_attention(self.low_norm(l)))
        low = low + self.drop_path(self.low_mlp(low))
        high = h + upsample_to(self.low_to_high(low), spatial_size(h))
        high = high + self.drop_path(self.high_attention(self.high_norm(high), low))
        high = high + self.drop_path(self.high_mlp(high))
        if self.high_to_low is not None:
            low = low + self.high_to_low(high)
        return high, low

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`."""
        yield self.low_norm, self.low_attention
        yield self.high_norm, self.high_attention


class RTFormer(Backbone):
    """RTFormer's backbone: stem and three convolution stages, then two RTFormer blocks.

    Args:
        attention: "low+high", see `rtseg.attention`.
        base_channels: c; a multiple of 8 serves every attention.
        cross_size: side of the token grid of `ca`, unless the attention itself names one.
        injection: whether the first and the second block add the high branch back to the low one.
        drop_path: probability that a residual branch is dropped, the same in all, as the authors have it.
    """

    head = "dual_resolution"
    outputs = {"aux": Auxiliary("aux", weight=0.4)}
    # No path is dropped; 12 is the default of the authors' class, 8 their configuration for one data set.
    classifier_options = {"drop_path": 0.0, "cross_size": 12}
    optional_parts = ("block5.high_to_low",)  # the second injection

    def __init__(
        self,
        *,
        attention: str,
        base_channels: Positive,
        cross_size: Positive,
        injection: tuple[bool, bool] = (True, False),
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        if not 0 <= drop_path < 1:
            raise UserError(f"drop_path={drop_path} must be at least 0 and below 1")
        c = base_channels
        low_attention, high_attention = resolve_attention(attention, {"cross_size": cross_size})
        self.features = {"high": FeatureInfo(2 * c, 8), "low": FeatureInfo(8 * c, 32), "aux": FeatureInfo(2 * c, 8)}

        self.places = {
            "stage1": FeatureInfo(c, 4), "stage2": FeatureInfo(2 * c, 8), "stage3": FeatureInfo(4 * c, 16),
            "stage3_high": FeatureInfo(2 * c, 8),
            "block4_high": FeatureInfo(2 * c, 8), "block4_low": FeatureInfo(8 * c, 32),
            "block5_high": FeatureInfo(2 * c, 8), "block5_low": FeatureInfo(8 * c, 32),
        }  # fmt: skip

        self.stem = stem(c)
        self.stage1 = basic_stage(c, c)
        self.stage2 = basic_stage(c, 2 * c, 2)
        self.stage3 = basic_stage(2 * c, 4 * c, 2)
        self.stage3_to_high = preactivated(4 * c, conv1x1(4 * c, 2 * c))
        self.stage3_high = BasicBlock(2 * c, 2 * c)
        self.block4, self.block5 = (
            RTFormerBlock(
                2 * c, low_in, 8 * c,
                low_attention=low_attention, high_attention=high_attention, injection=inject, drop_path=drop_path,
            )
            for low_in, inject in zip((4 * c, 8 * c), injection, strict=True)
        )  # fmt: skip
        self.classifier_head = ClassifierHead("injected", {"inject": self.block5.high_to_low is None})
        init_convolutions(self, skip=Attention)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x1 = self.at("stage1", self.stage1(self.stem(image)))
        x2 = self.at("stage2", self.stage2(F.relu(x1)))
        x3 = self.at("stage3", self.stage3(F.relu(x2)))
        x3_high = self.stage3_high(F.relu(x2 + upsample_to(self.stage3_to_high(x3), spatial_size(x2))))
        x3_high = self.at("stage3_high", x3_high)
        high, low = self.block4(x3_high, F.relu(x3))  # x3_high is rectified already
        high, low = self.at("block4_high", high), self.at("block4_low", low)
        high, low = self.block5(F.relu(high), F.relu(low))
        return {"high": self.at("block5_high", high), "low": self.at("block5_low", low), "aux": x3_high}


# The defaults are the authors' ADE20K variants.
register_backbone("rtformer_slim")(partial(RTFormer, attention="gfa+ca", base_channels=32, cross_size=8))
register_backbone("rtformer_base")(partial(RTFormer, attention="gfa+ca", base_channels=64, cross_size=12))
