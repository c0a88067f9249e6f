"""Classifiers by name: the library's backbones under a head for ImageNet, and the networks that Table 2 sets beside
them.

What classification alone needs stands in the head, so the backbone that is handed on has exactly the keys of the
segmentation network's.

B batch, K classes; c base channels of the backbone.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.networks.dfnet import DF1, DF2, DFNet
from pretrain.networks.stdc import STDC, STDC1, STDC2
from rtseg.errors import UserError
from rtseg.layers.conv import conv1x1, conv3x3, init_convolutions, preactivated
from rtseg.models import list_models
from rtseg.models.backbone import (
    NO_ATTENTION,
    Backbone,
    FeatureInfo,
    backbone_options,
    check_options,
    choose_attention,
    create_backbone,
)
from rtseg.models.ddrnet import DDRNet
from rtseg.models.rtformer import RTFormer
from rtseg.registry import Registry

# Where ImageNet differs from segmentation, in nothing that has weights: the recipe drops no path; 12 is the default of
# the authors' class, while 8 is their configuration of one network on one data set; DDRNet's authors classify at 1/32.
_OWN_DEFAULTS: Mapping[str, Any] = {"drop_path": 0.0, "cross_size": 12, "low_stride": 32}


class DDRNetHead(nn.Module):
    """The authors' own: the high branch comes down to the low one, then a 1x1; the maps of a DDRNet -> (B, 32 c).

    Args:
        features: of the backbone: 4 c channels at 1/8, 16 c at 1/32.
    """

    def __init__(self, features: Mapping[str, FeatureInfo]) -> None:
        super().__init__()
        high, low = features["high"].channels, features["low"].channels
        self.out_channels = 2 * low
        self.high_to_low = nn.Sequential(
            conv3x3(high, low // 2, 2), nn.BatchNorm2d(low // 2), nn.ReLU(inplace=True),
            conv3x3(low // 2, low, 2), nn.BatchNorm2d(low),
        )  # fmt: skip
        self.widen = nn.Sequential(
            conv1x1(low, self.out_channels), nn.BatchNorm2d(self.out_channels), nn.ReLU(inplace=True)
        )
        init_convolutions(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        joined = features["low"] + self.high_to_low(F.relu(features["high"]))
        return self.widen(F.relu(joined)).mean((2, 3))


class InjectionHead(nn.Module):
    """Ours: the high branch is added to the low one as RTFormer's blocks do it, then a 3x3; two maps -> (B, 8 c).

    Of the authors' head nothing is known but the sums of Table 2, which this one meets within 3 %.

    Args:
        features: of the backbone: 2 c channels at 1/8, 8 c at 1/32.
        inject: False where the backbone's last block has added the high branch itself.
    """

    def __init__(self, features: Mapping[str, FeatureInfo], *, inject: bool) -> None:
        super().__init__()
        high, low = features["high"].channels, features["low"].channels
        self.out_channels = low
        self.high_to_low: nn.Module | None = None
        if inject:
            self.high_to_low = nn.Sequential(
                preactivated(high, conv3x3(high, low // 2, 2)), preactivated(low // 2, conv3x3(low // 2, low, 2))
            )
        self.mix = nn.Sequential(conv3x3(low, low), nn.BatchNorm2d(low), nn.ReLU(inplace=True))
        init_convolutions(self)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        low = features["low"]
        if self.high_to_low is not None:
            low = low + self.high_to_low(features["high"])
        return self.mix(F.relu(low)).mean((2, 3))


class Classifier(nn.Module):
    """(B, 3, H, W) normalised image, any H, W >= 1 -> (B, K) logits.

    Attributes:
        backbone: of `rtseg.models.backbone.create_backbone`.
        head: the backbone's maps -> one vector.
        fc: the vector -> logits.

    Raises:
        UserError: a DDRNet whose low branch ends at 1/64.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head: DDRNetHead | InjectionHead
        if isinstance(backbone, DDRNet):
            if (stride := backbone.features["low"].stride) != 32:
                raise UserError(
                    f"low_stride={stride} is for segmentation: a classifier's DDRNet has 32, or leave it out"
                )
            self.head = DDRNetHead(backbone.features)
        else:
            injected = isinstance(backbone, RTFormer) and backbone.block5.high_to_low is not None
            self.head = InjectionHead(backbone.features, inject=not injected)
        self.fc = nn.Linear(self.head.out_channels, num_classes)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.head(self.backbone(image)))


_CLASSIFIERS: Registry[Callable[..., nn.Module]] = Registry("classifier")


def list_classifiers() -> list[str]:
    """Names that `create_classifier` takes."""
    return _CLASSIFIERS.names()


def create_classifier(name: str, num_classes: int = 1000, *, attention: str | None = None, **options: Any) -> nn.Module:
    """Builds a classifier with fresh weights.

    Args:
        attention: of a network of the library that has one to choose, see `rtseg.models.backbone.choose_attention`.
        options: of the library's backbone of this name; unless given, drop_path is 0.0, cross_size 12, low_stride 32.
            The other networks have none.

    Raises:
        UserError: unknown name, attention or option, a bad value of one, or fewer than two classes.
    """
    create = _CLASSIFIERS.get(name)
    if type(num_classes) is not int or num_classes < 2:
        raise UserError(f"num_classes={num_classes!r} must be a whole number of at least 2; ImageNet has 1000 classes")
    if name in list_models():
        return create(num_classes, attention=attention, **options)
    if attention not in (None, NO_ATTENTION):
        swappable = [model for model in list_models() if choose_attention(model, None) != NO_ATTENTION]
        raise UserError(
            f"classifier '{name}' has no attention to choose, so it cannot have '{attention}': leave attention out, or "
            f"take one of {', '.join(swappable)}"
        )
    check_options(name, options, {})
    return create(num_classes)


def classifier_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` of the network called `name`, with those that differ in classification filled in: what a card must say
    for the backbone to be understood without the classifier.
    """
    known = backbone_options(name) if name in list_models() else {}
    return {key: value for key, value in _OWN_DEFAULTS.items() if key in known} | dict(options)


def _on_backbone(name: str, num_classes: int, *, attention: str | None, **options: Any) -> Classifier:
    options = classifier_options(name, options)
    return Classifier(create_backbone(name, attention=attention, **options), num_classes)


def _timm(name: str, num_classes: int) -> nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=num_classes)


for _name in list_models():
    _CLASSIFIERS.register(_name)(partial(_on_backbone, _name))
_CLASSIFIERS.register("stdc1")(partial(STDC, blocks=STDC1))
_CLASSIFIERS.register("stdc2")(partial(STDC, blocks=STDC2))
_CLASSIFIERS.register("df1")(partial(DFNet, stages=DF1))
_CLASSIFIERS.register("df2")(partial(DFNet, stages=DF2))
_CLASSIFIERS.register("resnet18")(partial(_timm, "resnet18"))
_CLASSIFIERS.register("resnet50")(partial(_timm, "resnet50"))
_CLASSIFIERS.register("mobilenetv2")(partial(_timm, "mobilenetv2_100"))
_CLASSIFIERS.register("mobilenetv3")(partial(_timm, "mobilenetv3_large_100"))
_CLASSIFIERS.register("efficientnet_b0")(partial(_timm, "efficientnet_b0"))
