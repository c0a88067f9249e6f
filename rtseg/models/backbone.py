"""What a backbone is: an image in, named feature maps out, each with its width and stride, so that heads can ask."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.registry import Registry, suggest


class FeatureInfo(NamedTuple):
    """Of one feature map; the stride is in image pixels."""

    channels: int
    stride: int


class Backbone(nn.Module):
    """(B, 3, H, W) normalised image -> {"high": 1/8, "low": 1/32, "aux": 1/8}; any H, W >= 1, sizes are rounded up."""

    features: Mapping[str, FeatureInfo]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError


_BACKBONES: Registry[Callable[..., Backbone]] = Registry("model")


def register_backbone(name: str) -> Callable[[Callable[..., Backbone]], Callable[..., Backbone]]:
    """Decorator for a function of keyword arguments, `attention` among them, that builds a backbone."""
    return _BACKBONES.register(name)


def list_models() -> list[str]:
    """Names that `create_model` takes."""
    return _BACKBONES.names()


def backbone_options(name: str) -> dict[str, Any]:
    """Option -> default value of the backbone called `name`, `attention` left out."""
    parameters = inspect.signature(_BACKBONES.get(name)).parameters
    return {key: p.default for key, p in parameters.items() if key != "attention"}


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


def create_backbone(name: str, *, attention: str = "gfa+ca", **options: Any) -> Backbone:
    """Builds a backbone by name.

    Raises:
        UserError: unknown name or option, or a bad value.
    """
    check_options(name, options, backbone_options(name))
    return _BACKBONES.get(name)(attention=attention, **options)
