"""What Mask R-CNN sees of an image: the stages of a body, and the levels of a feature pyramid (FPN) on them.

ResNets and their FPN have torchvision's names in the state dict. Bodies of timm have rtseg's own FPN. Attention can be
inserted behind each stage and at each level; it renames nothing.

B batch, C channels, H, W height and width of an image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d

from rtseg.attention.insertion import HasPlaces
from rtseg.errors import UserError
from rtseg.layers.conv import init_convolutions
from rtseg.layers.feature_info import FeatureInfo
from rtseg.layers.normalize import IMAGENET_MEAN, IMAGENET_STD
from rtseg.models.fpn import FPN
from rtseg.models.timm_backbone import PREFIX as TIMM
from rtseg.models.timm_backbone import TimmBackbone

RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext101_32x8d")
STRIDES = (4, 8, 16, 32)  # of the stages below the pyramid
LEVELS = ("p2", "p3", "p4", "p5", "p6")  # fpn_1 to fpn_5 of the first paper
_STAGES = ("layer1", "layer2", "layer3", "layer4")
_LEVEL_NAMES = ("0", "1", "2", "3", "pool")  # by which torchvision's heads ask for the levels


class ResNet(HasPlaces):
    """torchvision's ResNet without its classifier: images (B, 3, H, W) -> the maps of its stages by name.

    Args:
        name: one of `RESNETS`.
        frozen_norm: keep BatchNorm as it was pre-trained.
    """

    mean, std = IMAGENET_MEAN, IMAGENET_STD

    def __init__(self, name: str, *, frozen_norm: bool) -> None:
        super().__init__()
        whole = getattr(resnet, name)(weights=None, norm_layer=FrozenBatchNorm2d if frozen_norm else nn.BatchNorm2d)
        parts = {part: module for part, module in whole.named_children() if part not in ("avgpool", "fc")}
        for part, module in parts.items():
            self.add_module(part, module)
        self.parts = tuple(parts)
        strides = zip(_STAGES, STRIDES, strict=True)
        self.features = {stage: FeatureInfo(_width(parts[stage]), stride) for stage, stride in strides}
        self.places = self.features

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        maps = {}
        for part in self.parts:
            x = self.get_submodule(part)(x)
            if part in self.features:
                maps[part] = x = self.at(part, x)
        return maps


class ResNetFPN(FeaturePyramidNetwork, HasPlaces):
    """torchvision's FPN: maps of four stages -> levels p2 to p5 by name, and p6, every second value of p5.

    Args:
        widths: channels of the maps.
        channels: C of every level.
    """

    prefix = FPN.prefix

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__(list(widths), channels)  # type: ignore[call-arg]  # torchvision has no types
        self.places = {level: FeatureInfo(channels, 4 * 2**k) for k, level in enumerate(LEVELS)}

    def forward(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        maps = super().forward(x).values()
        levels = {level: self.at(level, found) for level, found in zip(LEVELS, maps, strict=False)}
        return levels | {"p6": self.at("p6", F.max_pool2d(levels["p5"], 1, 2))}


class Pyramid(nn.Module):
    """Images (B, 3, H, W) -> levels (B, C, ...) at strides 4 to 64, by torchvision's names.

    Args:
        body: images -> maps by name.
        fpn: these -> levels by name, fine to coarse.
        channels: C.
    """

    def __init__(self, body: ResNet | TimmBackbone, fpn: ResNetFPN | FPN, channels: int) -> None:
        super().__init__()
        self.body, self.fpn = body, fpn
        self.out_channels = channels  # by this name torchvision asks for it

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return dict(zip(_LEVEL_NAMES, self.fpn(self.body(image)).values(), strict=True))


def create_pyramid(name: str, channels: int, *, frozen_norm: bool, trainable: int) -> Pyramid:
    """A body and its FPN with random weights.

    Args:
        name: one of `RESNETS`, or timm:NAME.
        channels: of the levels.
        frozen_norm: keep the body's BatchNorm as it was pre-trained.
        trainable: how many stages of the body are trained, from the last on; 5: all and the stem.

    Raises:
        UserError: timm has no such network, or not one with stages of strides 4 to 32.
    """
    if name.startswith(TIMM):
        return _timm_pyramid(name, channels, frozen_norm=frozen_norm, trainable=trainable)
    body = ResNet(name, frozen_norm=frozen_norm)
    _freeze({part: body.get_submodule(part) for part in body.parts}, _STAGES, trainable)
    return Pyramid(body, ResNetFPN([info.channels for info in body.features.values()], channels), channels)


def _timm_pyramid(name: str, channels: int, *, frozen_norm: bool, trainable: int) -> Pyramid:
    body = TimmBackbone(name.removeprefix(TIMM))
    maps = {stage: info for stage, info in body.features.items() if info.stride >= STRIDES[0]}
    if (strides := sorted(info.stride for info in maps.values())) != list(STRIDES):
        raise UserError(
            f"'{name}' has maps of strides {', '.join(map(str, strides))}; Mask R-CNN needs 4, 8, 16 and 32: take "
            "another, as timm:convnext_tiny"
        )
    if trainable < 5 and not body.plan.stages:
        raise UserError(f"'{name}' gives all maps at once, so it is trained whole: give --model.options.trainable=5")
    if frozen_norm:
        from timm.layers import freeze_batch_norm_2d

        body.body = freeze_batch_norm_2d(body.body)
    if body.plan.stages:
        ends = [child for child, stage in body.plan.stages.items() if stage in maps]
        _freeze(dict(body.body.named_children()), ends, trainable)
    fpn = FPN(maps, channels, extra_level=True)
    init_convolutions(fpn)
    return Pyramid(body, fpn, channels)


def _freeze(parts: Mapping[str, nn.Module], ends: Sequence[str], trainable: int) -> None:
    """Trains the last stages of a body alone.

    Args:
        parts: of the body, in the order of the forward pass.
        ends: the part that each stage ends with.
        trainable: how many stages are trained; at 4 the stem is not, at 5 it is.
    """
    names = list(parts)
    borders = [0, names.index(ends[0]), *(names.index(end) + 1 for end in ends)]
    for name in names[: borders[5 - trainable]]:
        parts[name].requires_grad_(False)


def _width(stage: Any) -> int:
    """Channels of what a stage gives."""
    last = stage[-1]
    return int((getattr(last, "conv3", None) or last.conv2).out_channels)  # of three convolutions or two
