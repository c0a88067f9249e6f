"""What a head is: the backbone's feature maps in, logits out, and the stride at which they are.

B batch, K classes, h, w height and width of the logits.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.models.backbone import FeatureInfo, building
from rtseg.options import Option, check_options, fitting, read_options
from rtseg.registry import Registry, suggest


class Head(nn.Module):
    """Feature maps by name -> (B, K, h, w) logits.

    A head asks `features` for the maps that it reads, by name, and for their width and stride. Its own parameters after
    `num_classes` are its options, see `rtseg.options`:

        def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int, *, width: Positive = 64) -> None:
            super().__init__(features, num_classes)

    Convolutions below it are initialised by the segmenter.

    Args:
        features: widths and strides of the maps that `forward` gets.
        num_classes: K.

    Attributes:
        stride: stride of the logits, in image pixels: h = ceil(H / stride). The constructor sets it.
    """

    stride: int

    def __init__(self, features: Mapping[str, FeatureInfo], num_classes: int) -> None:
        super().__init__()

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        raise NotImplementedError


_CONSTRUCTOR = ("features", "num_classes")  # what every head is given
_HEADS: Registry[type[Head]] = Registry("head")
HeadClass = TypeVar("HeadClass", bound=type[Head])


def register_head(name: str) -> Callable[[HeadClass], HeadClass]:
    """Class decorator.

    Raises (from the decorator):
        UserError: no class derived from `Head`, a constructor without `features` and `num_classes`, no `forward`, an
            option without a type or a default, or the name is taken.
    """
    register = _HEADS.register(name)

    def decorate(cls: HeadClass) -> HeadClass:
        if not (inspect.isclass(cls) and issubclass(cls, Head)):
            raise UserError(f"head '{name}': decorate a class derived from Head")
        if not {*_CONSTRUCTOR} <= {*inspect.signature(cls).parameters}:
            raise UserError(f"head '{name}': {cls.__name__}'s constructor must take {' and '.join(_CONSTRUCTOR)}")
        if cls.forward is Head.forward:
            raise UserError(f"head '{name}': {cls.__name__} lacks `forward(features)`")
        _read(name, cls)
        register(cls)
        return cls

    return decorate


def list_heads() -> list[str]:
    """Names that `create_head` takes."""
    return _HEADS.names()


def head_options(name: str) -> dict[str, Any]:
    """Option -> default value of the head called `name`."""
    return {key: option.default for key, option in _read(name, _HEADS.get(name)).items()}


def fitting_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the head called `name` knows and whose values are of the right type."""
    return fitting(options, _read(name, _HEADS.get(name)))


def create_head(name: str, features: Mapping[str, FeatureInfo], num_classes: int, **options: Any) -> Head:
    """Builds a head by name.

    Args:
        features: widths and strides of the backbone's maps; a head reads those that it knows by name.

    Raises:
        UserError: unknown name or option, a bad value, or a map that the backbone does not have.
    """
    cls, what = _HEADS.get(name), f"head '{name}'"
    check_options(what, options, _read(name, cls))
    with building(what, "super().__init__(features, num_classes)"):
        head = cls(_Maps(name, features), num_classes, **options)
    if not isinstance(getattr(head, "stride", None), int):
        raise UserError(f"{what}: set `self.stride`, the stride of its logits in image pixels, in the constructor")
    return head


def _read(name: str, cls: type[Head]) -> dict[str, Option]:
    return read_options(f"head '{name}'", cls, leave_out=_CONSTRUCTOR)


class _Maps(dict[str, FeatureInfo]):
    """Features by name. A head that asks for a missing map gets an error that lists the maps that exist."""

    def __init__(self, head: str, features: Mapping[str, FeatureInfo]) -> None:
        super().__init__(features)
        self.head = head

    def __missing__(self, name: str) -> FeatureInfo:
        others = ", ".join(head for head in list_heads() if head != self.head)
        raise UserError(
            f"head '{self.head}' reads the feature map '{name}', which the backbone does not have."
            f"{suggest(name, self)} Choose a backbone that has it, or another head ({others})"
        )
