"""Options of a network's part: read from the annotations of its constructor, and checked against them.

A constructor is the one place that says which options a part has, of which type, with which default. The types:

    bool  int  float  str  Literal["a", "b"]     one value; Positive is an int from 1 to `LARGEST`
    tuple[bool, bool]  tuple[int, ...]           a list of two, a list of any length; Sequence[int] likewise
    X | None                                     X or nothing
"""

import inspect
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from rtseg.errors import UserError
from rtseg.registry import suggest


class AtLeast(NamedTuple):
    """Mark of an annotated int: the least good value; the largest is `LARGEST`."""

    value: int


Positive = Annotated[int, AtLeast(1)]
LARGEST = 2**20  # a width, stride or grid beyond it fills any memory before there is an error to show

# Type -> what a value of it is called, and several are.
_WORDS = {
    bool: ("true or false", "booleans"),
    int: ("a whole number", "whole numbers"),
    float: ("a finite number", "finite numbers"),
    str: ("a text", "texts"),
}
_EMPTY = inspect.Parameter.empty
RESERVED = ("name", "num_classes", "attention", "head")  # what `create_model` is told beside the options


class Option(NamedTuple):
    """One option: its annotation, and the value that it has where it is not given."""

    kind: Any
    default: Any


def read_options(what: str, constructor: Callable[..., Any], *, leave_out: Collection[str] = ()) -> dict[str, Option]:
    """Option name -> option, of a class, a function or a `functools.partial` of one.

    Args:
        what: what is constructed, for errors: "model 'rtformer_slim'".
        leave_out: parameters that are not options.

    Raises:
        UserError: a parameter without a default or a type of those above, a default of another type, a name that is
            `create_model`'s own, or `**options`, whose names cannot be read.
    """
    options: dict[str, Option] = {}
    for name, parameter in inspect.signature(constructor, eval_str=True).parameters.items():
        if name in leave_out:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UserError(f"{what}: {parameter} cannot be read as options; name each, as in `channels: int = 64`")
        if not _is_kind(parameter.annotation) or parameter.default is _EMPTY:
            raise UserError(
                f"{what}: write option '{name}' with a type (bool, int, float, str, Literal, a tuple of these, or one "
                "of these | None) and a default, as in `channels: int = 64`"
            )
        if name in RESERVED:
            raise UserError(f"{what}: option '{name}' needs another name: `create_model` has a `{name}` of its own")
        option = Option(parameter.annotation, parameter.default)
        if not _fits(option.default, option.kind):
            raise UserError(f"{what}: the default of {name}={option.default!r} must be {_words(option.kind)}")
        options[name] = option
    return options


def check_reserved(options: Mapping[str, Any]) -> None:
    """Raises: UserError where `model.options` has what a key beside it says."""
    for name in RESERVED:
        if name in options:
            raise UserError(f"model.options.{name}={options[name]} is not an option: give it as model.{name}")


def check_options(what: str, options: Mapping[str, Any], known: Mapping[str, Option]) -> None:
    """Checks the names and types of option values.

    Raises:
        UserError: an unknown option, or a value of another kind; the message has the good ones and the default.
    """
    for name, value in options.items():
        if name not in known:
            raise UserError(f"{what} has no option '{name}'.{suggest(name, known)}")
        kind, default = known[name]
        if not _fits(value, kind):
            example = "" if default is None else f", as the default {default}"
            raise UserError(f"{what}: {name}={value!r} must be {_words(kind)}{example}")


def fitting(options: Mapping[str, Any], known: Mapping[str, Option]) -> dict[str, Any]:
    """The options whose name is known and whose value has the right type."""
    return {name: value for name, value in options.items() if name in known and _fits(value, known[name].kind)}


def _is_kind(kind: Any) -> bool:
    if kind in _WORDS or kind is NoneType or get_origin(kind) is Literal:
        return True
    if get_origin(kind) is Annotated:
        base, *marks = get_args(kind)
        return base is int and len(marks) == 1 and isinstance(marks[0], AtLeast)
    return get_origin(kind) in (Union, UnionType, tuple, Sequence) and all(map(_is_kind, _parts(kind)))


def _parts(kind: Any) -> list[Any]:
    return [part for part in get_args(kind) if part is not ...]


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin is Annotated:
        base, least = get_args(kind)
        return type(value) is base and least.value <= value <= LARGEST
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    if origin in (tuple, Sequence):
        if not isinstance(value, (list, tuple)):
            return False
        parts = _parts(kind) * len(value) if _any_length(kind) else _parts(kind)
        return len(parts) == len(value) and all(map(_fits, value, parts))
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    return type(value) is kind


def _any_length(kind: Any) -> bool:
    return get_origin(kind) is Sequence or ... in get_args(kind)


def _words(kind: Any) -> str:
    """What a value of this kind is called."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is NoneType:
        return "null"
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is Annotated:
        return f"{_words(args[0])} of at least {args[1].value} and at most {LARGEST}"
    if origin in (Union, UnionType):
        return " or ".join(map(_words, args))
    if origin in (tuple, Sequence):
        parts = _parts(kind)
        several = _WORDS[parts[0]][1] if parts[0] in _WORDS else f"entries, each {_words(parts[0])}"
        if _any_length(kind):
            return f"a list of {several}"
        same = len(set(parts)) == 1
        return f"a list of {len(parts)} {several}" if same else f"a list of {', '.join(map(_words, parts))}"
    return _WORDS[kind][0]
