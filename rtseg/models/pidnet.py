"""PIDNet, three branches as in a PID controller: P keeps detail, I gathers context, D finds boundaries.

Where D sees a boundary, P counts more than I.

Xu et al., https://arxiv.org/abs/2206.02066. The layers are those of the authors' implementation; tests compare
the number of parameters with it. Every stride of two rounds sizes up. Initial values are those of the other networks
here.

c base channels (32 for S, 64 for M and L). P has 2c channels at 1/8, 4c at its end; I 4c at 1/16, 8c at 1/32, 16c at
1/64; D c or 2c at 1/8, 4c at its end.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.layers.conv import (
    Bottleneck,
    basic_stage,
    conv1x1,
    conv3x3,
    init_convolutions,
    preactivated,
    spatial_size,
    stem,
    upsample_to,
)
from rtseg.layers.dappm import DAPPM
from rtseg.models.backbone import Auxiliary, Backbone, ClassifierHead, FeatureInfo, register_backbone
from rtseg.models.heads.base import Head, register_head
from rtseg.models.heads.conv import ConvHead
from rtseg.options import Positive


def _normalised(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels))


class PixelAttention(nn.Module):
    """Pixel-attention-guided fusion (Pag): P takes context where both branches agree.

    p (B, C, H, W), i (B, C, h, w) -> (B, C, H, W), a mean of both, weighted at each pixel.

    Args:
        hidden_channels: channels in which P and I are compared.
    """

    def __init__(self, channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.embed_p = _normalised(conv1x1(channels, hidden_channels))
        self.embed_i = _normalised(conv1x1(channels, hidden_channels))

    def forward(self, p: Tensor, i: Tensor) -> Tensor:
        size = spatial_size(p)
        agree = (self.embed_p(p) * upsample_to(self.embed_i(i), size)).sum(1, keepdim=True).sigmoid()
        return (1 - agree) * p + agree * upsample_to(i, size)


class PIDNet(Backbone):
    """The backbone of S and M: stem and two stages in common, then three stages in each branch.

    Args:
        base_channels: c.
        blocks: in each of the stages in common and of P, and in each of I's stages 3 and 4.
    """

    head = "boundary_attention"
    head_options = {"spp": "pappm", "fusion": "light_bag", "head_channels": 128, "spp_channels": 96}
    # The authors pre-train without D; here the whole backbone is pre-trained.
    classifier_head = ClassifierHead("pooled", {"maps": ("high", "low", "boundary")})
    narrow_boundary = True

    def __init__(self, *, base_channels: Positive, blocks: tuple[Positive, Positive] = (2, 3)) -> None:
        super().__init__()
        c, (m, n) = base_channels, blocks
        self.features = {
            "high": FeatureInfo(4 * c, 8), "low": FeatureInfo(16 * c, 64), "boundary": FeatureInfo(4 * c, 8),
            "aux": FeatureInfo(2 * c, 8), "aux_boundary": FeatureInfo(2 * c, 8),
        }  # fmt: skip
        as_main = {"head_channels": self.head_options["head_channels"]}
        self.outputs = {
            "aux": Auxiliary("aux", weight=0.4, options=as_main),
            "boundary": Auxiliary(
                "aux_boundary", weight=20.0, loss="boundary", channels=1, options={"head_channels": c}
            ),
            "main_at_boundary": Auxiliary(None, weight=1.0, loss="cross_entropy_at_boundary"),
        }

        d = c if self.narrow_boundary else 2 * c
        self.places = {
            "stage1": FeatureInfo(c, 4), "stage2": FeatureInfo(2 * c, 8),
            "stage3_i": FeatureInfo(4 * c, 16), "stage3_p": FeatureInfo(2 * c, 8), "stage3_d": FeatureInfo(d, 8),
            "stage4_i": FeatureInfo(8 * c, 32), "stage4_p": FeatureInfo(2 * c, 8), "stage4_d": FeatureInfo(2 * c, 8),
            "stage5_i": FeatureInfo(16 * c, 64), "stage5_p": FeatureInfo(4 * c, 8), "stage5_d": FeatureInfo(4 * c, 8),
        }  # fmt: skip

        self.stem = stem(c)
        self.stage1 = basic_stage(c, c, blocks=m)
        self.stage2 = basic_stage(c, 2 * c, 2, blocks=m)
        self.stage3_i = basic_stage(2 * c, 4 * c, 2, blocks=n)
        self.stage4_i = basic_stage(4 * c, 8 * c, 2, blocks=n)
        self.stage5_i = nn.Sequential(Bottleneck(8 * c, 8 * c, 2), Bottleneck(16 * c, 8 * c))

        self.stage3_p = basic_stage(2 * c, 2 * c, blocks=m)
        self.i3_to_p = _normalised(conv1x1(4 * c, 2 * c))
        self.fusion3 = PixelAttention(2 * c, c)
        self.stage4_p = basic_stage(2 * c, 2 * c, blocks=m)
        self.i4_to_p = _normalised(conv1x1(8 * c, 2 * c))
        self.fusion4 = PixelAttention(2 * c, c)
        self.stage5_p = Bottleneck(2 * c, 2 * c)

        self.stage3_d = basic_stage(2 * c, d, blocks=1)
        self.i3_to_d = _normalised(conv3x3(4 * c, d))
        self.stage4_d = Bottleneck(c, c) if self.narrow_boundary else basic_stage(2 * c, 2 * c, blocks=1)
        self.i4_to_d = _normalised(conv3x3(8 * c, 2 * c))
        self.stage5_d = Bottleneck(2 * c, 2 * c)
        init_convolutions(self)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        x1 = self.at("stage1", self.stage1(self.stem(image)))
        common = F.relu(self.at("stage2", self.stage2(F.relu(x1))))
        size = spatial_size(common)
        i3 = F.relu(self.at("stage3_i", self.stage3_i(common)))
        p3 = F.relu(self.fusion3(self.at("stage3_p", self.stage3_p(common)), self.i3_to_p(i3)))
        d3 = F.relu(self.at("stage3_d", self.stage3_d(common)) + upsample_to(self.i3_to_d(i3), size))
        i4 = F.relu(self.at("stage4_i", self.stage4_i(i3)))
        p4 = F.relu(self.fusion4(self.at("stage4_p", self.stage4_p(p3)), self.i4_to_p(i4)))
        d4 = F.relu(self.at("stage4_d", self.stage4_d(d3)) + upsample_to(self.i4_to_d(i4), size))
        return {
            "high": self.at("stage5_p", self.stage5_p(p4)), "low": self.at("stage5_i", self.stage5_i(i4)),
            "boundary": self.at("stage5_d", self.stage5_d(d4)), "aux": p3, "aux_boundary": d4,
        }  # fmt: skip


class PIDNetLarge(PIDNet):
    """The backbone of L: D is as wide as P from its first stage, and the head is the larger one."""

    head_options = {"spp": "dappm", "fusion": "bag", "head_channels": 256, "spp_channels": 112}
    narrow_boundary = False


class PAPPM(DAPPM):
    """Parallel aggregation (PAPPM): DAPPM whose scales each add to the finest one, refined in one grouped convolution.

    (B, in, H, W) -> (B, out, H, W).
    """

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, hidden_channels, out_channels)
        del self.processes  # DAPPM's, one scale after the other
        width = 4 * hidden_channels
        self.process = preactivated(width, nn.Conv2d(width, width, 3, padding=1, groups=4, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        finest = self.scales[0](x)
        coarser = [
            upsample_to(scale(pool(x)), spatial_size(x)) + finest
            for pool, scale in zip(self.pools, self.scales[1:], strict=True)
        ]
        refined = self.process(torch.cat(coarser, 1))
        return self.compression(torch.cat([finest, refined], 1)) + self.shortcut(x)


class Bag(nn.Module):
    """Boundary-attention-guided fusion: p, i, d (B, C, H, W) -> the same; P where D sees a boundary, else I."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = preactivated(channels, conv3x3(channels, channels))

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        boundary = d.sigmoid()
        return self.mix(boundary * p + (1 - boundary) * i)


class LightBag(nn.Module):
    """`Bag` without its 3x3: P takes from I off the boundaries, I from P on them; p, i, d (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix_p = _normalised(conv1x1(channels, channels))
        self.mix_i = _normalised(conv1x1(channels, channels))

    def forward(self, p: Tensor, i: Tensor, d: Tensor) -> Tensor:
        boundary = d.sigmoid()
        return self.mix_p(p + (1 - boundary) * i) + self.mix_i(i + boundary * p)


@register_head("boundary_attention")
class BoundaryAttentionHead(Head):
    """Pyramid context of the map "low", joined to "high" as the map "boundary" says, then classified -> (B, K, h, w).

    Args:
        spp: how the context's scales are refined.
        fusion: see `Bag`, `LightBag`.
        head_channels: channels of the classifier's 3x3; as wide as "high" where it is not given.
        spp_channels: channels of each of the context's scales.
    """

    def __init__(
        self,
        features: Mapping[str, FeatureInfo],
        num_classes: int,
        *,
        spp: Literal["pappm", "dappm"] = "pappm",
        fusion: Literal["light_bag", "bag"] = "light_bag",
        head_channels: Positive | None = None,
        spp_channels: Positive = 96,
    ) -> None:
        super().__init__(features, num_classes)
        high, self.stride = features["high"]
        pyramid = PAPPM if spp == "pappm" else DAPPM
        self.context = pyramid(features["low"].channels, spp_channels, high)
        self.fusion = LightBag(high) if fusion == "light_bag" else Bag(high)
        if features["boundary"].channels != high:
            raise UserError(
                f"head 'boundary_attention' needs maps 'high' and 'boundary' of one width, not {high} and "
                f"{features['boundary'].channels}"
            )
        joined = {"joined": FeatureInfo(high, self.stride)}
        self.classifier = ConvHead(joined, num_classes, head_channels=head_channels)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        high = features["high"]
        context = upsample_to(self.context(features["low"]), spatial_size(high))
        return self.classifier({"joined": self.fusion(high, context, features["boundary"])})

    def rows(self) -> Iterator[Sequence[nn.Module]]:
        """See `rtseg.layers.rows`."""
        if isinstance(self.fusion, Bag):
            yield self.fusion.mix, self.classifier.hidden


register_backbone("pidnet_s")(partial(PIDNet, base_channels=32))
register_backbone("pidnet_m")(partial(PIDNet, base_channels=64))
register_backbone("pidnet_l")(partial(PIDNetLarge, base_channels=64, blocks=(3, 4)))
