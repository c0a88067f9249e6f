"""Narrow segmenters, the pairs of attentions that cover every one, and statistics as after a training."""

from typing import Any

import pytest
import torch
from torch import nn

from rtseg.attention import list_attentions, parse_attention
from rtseg.errors import UserError
from rtseg.models import create_model, list_models
from rtseg.models.backbone import backbone_options, choose_attention, choose_head, create_backbone, swappable_models
from rtseg.models.heads import head_options


def is_legal(attention: str) -> bool:
    try:
        parse_attention(attention)
    except UserError:
        return False
    return True


def pairs() -> list[str]:
    """Every mechanism in every branch: alone for both where it can be, otherwise as the high one."""
    names = list_attentions()
    alone = [name for name in names if is_legal(name)]
    return alone + [f"{low}+{name}" for name in names if name not in alone for low in alone]


PAIRS = pairs()


def narrow(model: str, **options: Any) -> dict[str, Any]:
    """Options that make a model small, where it and its head have them, and those that are given."""
    known = backbone_options(model) | head_options(choose_head(model, options.get("head")))
    sizes = {"base_channels": 8, "spp_channels": 16}
    return {key: value for key, value in sizes.items() if key in known} | options


def small(model: str = "rtformer_slim", attention: str | None = "gfa+ca", num_classes: int = 5, **options: Any) -> Any:
    return create_model(model, num_classes, attention=attention, **narrow(model, **options))


def randomise_statistics(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]


def families() -> set[str]:
    """The last model of every class of backbones: made narrow, the others of a class are nearly the same networks."""
    with torch.device("meta"):
        return set({type(create_backbone(model)): model for model in list_models()}.values())


FAMILIES = families()


def every_model() -> list[Any]:
    """Parameters `model`, for what takes long: one of each family, and slow the others."""
    return [pytest.param(model, marks=[] if model in FAMILIES else [pytest.mark.slow]) for model in list_models()]


def every_network(attentions: list[str]) -> list[Any]:
    """Parameters `model`, `attention`: every model with its own attention; where another can be chosen, one of each
    family with each of `attentions`, and slow the others.
    """
    rows = []
    for model in list_models():
        own = choose_attention(model, None)
        others = [attention for attention in attentions if attention != own] if model in swappable_models() else []
        marks = [] if model in FAMILIES else [pytest.mark.slow]
        rows += [pytest.param(model, own), *(pytest.param(model, other, marks=marks) for other in others)]
    return rows
