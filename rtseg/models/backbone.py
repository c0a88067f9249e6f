"""What a backbone is: an image in, named feature maps out, each with its width and stride, so that heads can ask."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.registry import Registry, suggest


class FeatureInfo(NamedTuple):
    """Of one feature map; the stride is in image pixels."""

    channels: int
    stride: int


NO_ATTENTION = "none"  # what cards say of a backbone that has none to choose

Fusion = Literal["concatenate", "add"]


class Backbone(nn.Module):
    """(B, 3, H, W) normalised image -> {"high": 1/8, "low": 1/32 or less, "aux": 1/8}; any H, W >= 1, sizes are rounded
    up.

    Attributes:
        features: of each map, its width and stride.
        fusion: how the head joins the context of "low" to "high", both as wide as "high".
    """

    features: Mapping[str, FeatureInfo]
    fusion: Fusion = "concatenate"

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


_BACKBONES: Registry[Callable[..., Backbone]] = Registry("model")


def register_backbone(name: str) -> Callable[[Callable[..., Backbone]], Callable[..., Backbone]]:
    """Decorator for a function of keyword arguments that builds a backbone.

    One that takes `attention`, with a default, is a network of swappable attention; one that does not has none.
    """
    return _BACKBONES.register(name)


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return _BACKBONES.names()


def backbone_options(name: str) -> dict[str, Any]:
    """Option -> default value of the backbone called `name`, `attention` left out."""
    parameters = inspect.signature(_BACKBONES.get(name)).parameters
    return {key: p.default for key, p in parameters.items() if key != "attention"}


def choose_attention(name: str, attention: str | None) -> str:
    """The attention that the backbone called `name` is built with: its own default for None, "none" where it has none.

    Raises:
        UserError: unknown backbone, or an attention for one that has none.
    """
    if attention is None:
        return _default_attention(name)
    if attention != NO_ATTENTION and _default_attention(name) == NO_ATTENTION:
        swappable = [other for other in list_models() if _default_attention(other) != NO_ATTENTION]
        raise UserError(
            f"model '{name}' has no attention to choose, so it cannot have '{attention}': leave attention out, or take "
            f"one of the models {', '.join(swappable)}"
        )
    return attention


def _default_attention(name: str) -> str:
    parameter = inspect.signature(_BACKBONES.get(name)).parameters.get("attention")
    return NO_ATTENTION if parameter is None else parameter.default


def check_options(model: str, options: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Holds options against the defaults; a default of None stands for a width.

    Raises:
        UserError: an unknown option, or a value of another kind than the default.
    """
    for key, value in options.items():
        if key not in defaults:
            raise UserError(f"model '{model}' has no option '{key}'.{suggest(key, defaults)}")
        default = defaults[key]
        if isinstance(default, tuple):
            fits = isinstance(value, Sequence) and len(value) == len(default) and all(type(v) is bool for v in value)
            kind = f"a list of {len(default)} booleans"
        elif isinstance(default, float):
            fits, kind = isinstance(value, (int, float)) and not isinstance(value, bool), "a number"
        else:
            fits, kind = type(value) is int and value >= 1, "a whole number of at least 1"
        if not fits:
            example = "" if default is None else f", as the default {default}"
            raise UserError(f"model '{model}': {key}={value!r} must be {kind}{example}")


def create_backbone(name: str, *, attention: str | None = None, **options: Any) -> Backbone:
    """Builds a backbone by name.

    Args:
        attention: see `choose_attention`.

    Raises:
        UserError: unknown name or option, or a bad value.
    """
    check_options(name, options, backbone_options(name))
    chosen = choose_attention(name, attention)
    if _default_attention(name) == NO_ATTENTION:
        return _BACKBONES.get(name)(**options)
    return _BACKBONES.get(name)(attention=chosen, **options)
