"""Classifiers by name: the library's backbones under a head for ImageNet, and the networks that Table 2 sets beside
them.

What classification alone needs stands in the head, so the backbone that is handed on has exactly the keys of the
segmentation network's. The backbone says which head that is, and which of its options differ in classification.

B batch, K classes.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import timm
from torch import Tensor, nn

from pretrain.networks.dfnet import DF1, DF2, DFNet
from pretrain.networks.heads import create_head
from pretrain.networks.stdc import STDC, STDC1, STDC2
from rtseg.checks import check_whole
from rtseg.errors import UserError
from rtseg.models import list_models
from rtseg.models.backbone import (
    NO_ATTENTION,
    Backbone,
    create_backbone,
    own_classifier_options,
    swappable_models,
)
from rtseg.options import check_options
from rtseg.registry import Registry, UnknownNameError, suggest


class Classifier(nn.Module):
    """(B, 3, H, W) normalised image, any H, W >= 1 -> (B, K) logits.

    Attributes:
        backbone: of `rtseg.models.backbone.create_backbone`.
        head: the backbone's maps -> one vector.
        fc: the vector -> logits.

    Raises:
        UserError: maps or options that do not fit the backbone's classifier head.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = create_head(backbone)
        self.fc = nn.Linear(self.head.out_channels, num_classes)
        nn.init.trunc_normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.head(self.backbone(image)))


# Those that classify only; every backbone of the library is a classifier too.
_OTHERS: Registry[Callable[[int], nn.Module]] = Registry("classifier")


def list_classifiers() -> list[str]:
    """Names that `create_classifier` takes."""
    return sorted({*_OTHERS.names(), *list_models()})


def create_classifier(name: str, num_classes: int = 1000, *, attention: str | None = None, **options: Any) -> nn.Module:
    """Builds a classifier with fresh weights.

    Args:
        attention: of a network of the library that has one to choose, see `rtseg.models.backbone.choose_attention`.
        options: of the library's backbone of this name; unless given, those that differ in classification have the
            values that the backbone says (RTFormer: drop_path 0.0, cross_size 12; DDRNet: low_stride 32). The other
            networks have none.

    Raises:
        UserError: unknown name, attention or option, a bad value of one, or fewer than two classes.
    """
    if name not in list_classifiers():
        raise UnknownNameError(f"unknown classifier '{name}'.{suggest(name, list_classifiers())}")
    check_whole("num_classes", num_classes, 2, "ImageNet has 1000 classes")
    if name in list_models():
        return Classifier(create_backbone(name, attention=attention, **classifier_options(name, options)), num_classes)
    if attention not in (None, NO_ATTENTION):
        raise UserError(
            f"classifier '{name}' has no attention to choose, so it cannot have '{attention}': leave attention out, or "
            f"take one of {', '.join(swappable_models())}"
        )
    check_options(f"model '{name}'", options, {})
    return _OTHERS.get(name)(num_classes)


def classifier_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` of the network called `name`, with those that differ in classification filled in: what a card must say
    for the backbone to be understood without the classifier.
    """
    return {**(own_classifier_options(name) if name in list_models() else {}), **options}


def _timm(num_classes: int, *, name: str) -> nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=num_classes)


_OTHERS.register("stdc1")(partial(STDC, blocks=STDC1))
_OTHERS.register("stdc2")(partial(STDC, blocks=STDC2))
_OTHERS.register("df1")(partial(DFNet, stages=DF1))
_OTHERS.register("df2")(partial(DFNet, stages=DF2))
_OTHERS.register("resnet18")(partial(_timm, name="resnet18"))
_OTHERS.register("resnet50")(partial(_timm, name="resnet50"))
_OTHERS.register("mobilenetv2")(partial(_timm, name="mobilenetv2_100"))
_OTHERS.register("mobilenetv3")(partial(_timm, name="mobilenetv3_large_100"))
_OTHERS.register("efficientnet_b0")(partial(_timm, name="efficientnet_b0"))
