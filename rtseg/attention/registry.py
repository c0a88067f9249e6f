"""The registry of attentions: each registers under a name, with the defaults of its options in each branch."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rtseg.attention.base import Attention
from rtseg.errors import UserError
from rtseg.registry import Registry

Branch = Literal["low", "high"]

KINDS = (int, float, str, bool)  # what an option can be


@dataclass(frozen=True)
class Mechanism:
    """A registered attention.

    Attributes:
        cls: its class.
        needs_context: whether it reads the low-resolution branch, so that it can stand in the high one alone.
        from_network: options whose value the network gives, unless the user names them.
        defaults: branch -> option -> default there.
    """

    cls: type[Attention]
    needs_context: bool
    from_network: tuple[str, ...]
    defaults: Mapping[str, Mapping[str, Any]]

    def options(self) -> dict[str, type]:
        """Option name -> type, read from the constructor."""
        return {name: parameter.annotation for name, parameter in _option_parameters(self.cls).items()}

    def default_options(self, branch: Branch) -> dict[str, Any]:
        """Option name -> the value that it has in `branch` where a choice does not name it."""
        general = {name: parameter.default for name, parameter in _option_parameters(self.cls).items()}
        return {**general, **self.defaults[branch]}


_ATTENTIONS: Registry[Mechanism] = Registry("attention")


def register_attention(
    name: str,
    *,
    needs_context: bool = False,
    from_network: tuple[str, ...] = (),
    low: Mapping[str, Any] | None = None,
    high: Mapping[str, Any] | None = None,
) -> Callable[[type[Attention]], type[Attention]]:
    """Class decorator.

    Args:
        name: what users write, a lower-case identifier.
        needs_context: it reads the low-resolution branch.
        from_network: its options that the network has a value for, such as "cross_size". It is used unless the user
            names another.
        low, high: defaults of the options in that branch, where they differ from the constructor's.

    Raises:
        UserError: no `forward`; a constructor that does not take what every attention is given; an option without a
            type that a user can write or without a default; `from_network`, `low` or `high` names no option; or the
            name is taken.
    """
    register = _ATTENTIONS.register(name)

    def decorate(cls: type[Attention]) -> type[Attention]:
        mechanism = Mechanism(cls, needs_context, from_network, {"low": low or {}, "high": high or {}})
        for option, parameter in _option_parameters(cls).items():
            if parameter.annotation not in KINDS or parameter.default is parameter.empty:
                raise UserError(
                    f"attention '{name}': write option '{option}' of {cls.__name__} with a type (int, float, str or "
                    f"bool) and a default, as in `{option}: int = 4`"
                )
        for option in (*from_network, *(low or {}), *(high or {})):
            if option not in mechanism.options():
                raise UserError(f"attention '{name}': '{option}' is not a keyword-only parameter of {cls.__name__}")
        _check_class(name, cls)
        register(mechanism)
        cls.name = name
        return cls

    return decorate


def _check_class(name: str, cls: type[Attention]) -> None:
    if cls.forward is Attention.forward:
        raise UserError(f"attention '{name}': {cls.__name__} lacks `forward(x, context=None)`")
    try:
        inspect.signature(cls).bind(8, 8, stride=1, context_channels=8)
    except TypeError as error:
        raise UserError(
            f"attention '{name}': the constructor of {cls.__name__} must take `in_channels, out_channels=None, *, "
            f"stride, context_channels`, the last two as `**shape`: {error}"
        ) from None


def list_attentions() -> list[str]:
    """Names of all mechanisms."""
    return _ATTENTIONS.names()


def get_mechanism(name: str) -> Mechanism:
    """What is registered under `name`.

    Raises:
        UserError: nothing is; the message names the nearest mechanism and all of them.
    """
    return _ATTENTIONS.get(name)


def network_options() -> set[str]:
    """Names of all options that networks give to attentions."""
    return {option for name in list_attentions() for option in get_mechanism(name).from_network}


def _option_parameters(cls: type[Attention]) -> dict[str, inspect.Parameter]:
    """The keyword-only parameters of the constructor that are not those of every attention."""
    parameters = inspect.signature(cls, eval_str=True).parameters
    general = inspect.signature(Attention).parameters
    return {n: p for n, p in parameters.items() if p.kind is p.KEYWORD_ONLY and n not in general}
