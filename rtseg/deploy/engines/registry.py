"""Engines by name. A name may have a precision: "openvino:bf16"."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from rtseg.deploy.engines.base import Engine
from rtseg.deploy.engines.precision import Precision
from rtseg.errors import UserError
from rtseg.registry import Registry

EngineClass = TypeVar("EngineClass", bound=Engine)
_ENGINES: Registry[type[Engine]] = Registry("engine")
# What an engine must declare: whether a value is of the right form, and an example of one.
_DECLARED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "precisions": (
        lambda value: isinstance(value, Mapping) and all(isinstance(p, Precision) for p in value.values()),
        "by_name(FP32)",
    ),
    "devices": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(device, str) for device in value),
        '("cpu",)',
    ),
    "takes": (lambda value: value in ("network", "graph"), '"network" or "graph"'),
    "output": (lambda value: value in ("logits", "class_map"), '"logits" or "class_map"'),
}


def register_engine(backend: str) -> Callable[[type[EngineClass]], type[EngineClass]]:
    """Class decorator: registers an engine under the name that `create_engine`, commands and listings take.

    Raises:
        UserError: `backend` is not a name. From the decorator: a declaration is missing or wrong, or the name is taken.
    """
    register = _ENGINES.register(backend)

    def decorate(kind: type[EngineClass]) -> type[EngineClass]:
        lacks = [name for name in _DECLARED if not getattr(kind, name, None)] + ["a docstring"] * (not kind.about())
        if lacks:
            raise UserError(f"engine '{backend}': {kind.__name__} lacks {', '.join(lacks)}; see docs/plugins.md")
        for name, (fits, example) in _DECLARED.items():
            if not fits(value := getattr(kind, name)):
                raise UserError(f"engine '{backend}': {name} = {value!r} must be as in {name} = {example}")
        kind.backend = backend
        register(kind)
        return kind

    return decorate


def list_backends() -> list[str]:
    """Names that `create_engine` takes, without precisions."""
    return _ENGINES.names()


def engine_classes() -> list[type[Engine]]:
    """All registered engines, in the order of their registration, plug-ins last."""
    return list(_ENGINES.entries().values())


def parse_backend(name: str) -> tuple[type[Engine], str]:
    """The class and the precision of "openvino:bf16".

    Raises:
        UserError: no such backend, or a precision that it does not have.
    """
    backend, _, precision = name.partition(":")
    kind = _ENGINES.get(backend)
    if (precision := precision or next(iter(kind.precisions))) not in kind.precisions:
        raise UserError(f"engine '{backend}' has no precision '{precision}': choose {', '.join(kind.precisions)}")
    return kind, precision


def short_name(kind: type[Engine], precision: str) -> str:
    """The name that `parse_backend` takes, without the precision where it is the default."""
    return kind.backend if precision == next(iter(kind.precisions)) else f"{kind.backend}:{precision}"
