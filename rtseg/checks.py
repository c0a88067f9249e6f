"""Checks of numbers and names that a user gives: each raises `UserError` with the bad value, the good ones, the repair.

All functions take the name as the user knows it ("optim.lr", "--epochs", "heads"), then the value, then what is good.
The optional `repair` ends the message: what the value means, or what to write instead. No check lets NaN or infinity
pass.
"""

import math
import sys
from collections.abc import Iterable
from numbers import Real
from typing import Any

from rtseg.errors import UserError
from rtseg.registry import suggest


def check_at_least(name: str, value: Any, least: float, repair: str = "") -> None:
    """Raises: UserError unless `value` is a number and `value >= least`."""
    _check(_is_number(value) and value >= least, name, value, _finite(f"at least {least}", value), repair)


def check_above(name: str, value: Any, bound: float, repair: str = "") -> None:
    """Raises: UserError unless `value` is a number and `value > bound`."""
    _check(_is_number(value) and value > bound, name, value, _finite(f"above {bound}", value), repair)


def check_between(name: str, value: Any, least: float, most: float, repair: str = "") -> None:
    """Raises: UserError unless `value` is a number and `least <= value <= most`."""
    _check(_is_number(value) and least <= value <= most, name, value, f"from {least} to {most}", repair)


def check_below(name: str, value: Any, least: float, bound: float, repair: str = "") -> None:
    """Raises: UserError unless `value` is a number and `least <= value < bound`."""
    _check(_is_number(value) and least <= value < bound, name, value, f"at least {least} and below {bound}", repair)


def check_fraction(name: str, value: Any, repair: str = "") -> None:
    """A part of a whole that is not empty. Raises: UserError unless `value` is a number and `0 < value <= 1`."""
    _check(_is_number(value) and 0 < value <= 1, name, value, "above 0 and at most 1", repair)


def check_finite(name: str, value: Any, repair: str = "") -> None:
    """Raises: UserError unless `value` is a number and neither infinite nor NaN."""
    _check(_is_number(value), name, value, "a finite number", repair)


def check_whole(name: str, value: Any, least: int, repair: str = "") -> None:
    """Raises: UserError unless `value` is an int (no bool, no float without a fraction) and `value >= least`."""
    _check(type(value) is int and value >= least, name, value, f"a whole number of at least {least}", repair)


def check_multiple(name: str, value: int, factor: int, repair: str = "") -> None:
    """Raises: UserError unless `value` is a multiple of `factor`, above 0; the message has the nearest."""
    low = value // factor * factor
    near = f"{low} or {low + factor}" if low > 0 else f"{factor}"
    _check(value > 0 and low == value, name, value, f"a multiple of {factor}, such as {near}", repair)


def check_divides(name: str, parts: int, whole: int, what: str = "channels") -> None:
    """Raises: UserError unless `whole` of `what` split into `parts` equal parts; the message lists the good numbers."""
    if parts < 1 or whole % parts:
        good = [n for n in range(1, min(whole, 64) + 1) if whole % n == 0]
        raise UserError(f"{_given(name, parts)} does not divide {whole} {what}; choose one of {good}")


def check_one_of(name: str, value: Any, choices: Iterable[str]) -> None:
    """Raises: UserError unless `value` is one of `choices`; the message has the nearest one and all of them."""
    known = list(choices)
    if value not in known:
        raise UserError(f"{_given(name, value)} is unknown.{suggest(value, known)}")


def is_bounded(value: Any, *, depth: int, entries: int) -> bool:
    """Whether nested dictionaries, lists and tuples have at most so many levels and so many entries.

    An entry counts wherever it is reached: a few hundred bytes of lists that name each other twice hold billions, and a
    list may hold itself.
    """
    level = [value]
    for _ in range(depth + 1):
        below: list[Any] = []
        for outer in level:
            inner = outer.values() if isinstance(outer, dict) else outer if isinstance(outer, (list, tuple)) else ()
            entries -= len(inner)
            if entries < 0:
                return False
            below.extend(inner)
        if not below:
            return True
        level = below
    return False


def _check(fits: bool, name: str, value: Any, good: str, repair: str) -> None:
    if not fits:
        raise UserError(f"{_given(name, value, quote=True)} must be {good}{f'; {repair}' * bool(repair)}")


def _given(name: str, value: Any, *, quote: bool = False) -> str:
    """As the user wrote it: `--epochs 0` on a command line, `optim.lr=0` elsewhere."""
    return f"{name}{' ' if name.startswith('-') else '='}{repr(value) if quote else value}"


def _finite(good: str, value: Any) -> str:
    """The good values, with "and finite" where the bad value is NaN or infinite."""
    return good if not isinstance(value, float) or math.isfinite(value) else f"{good} and finite"


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold: an int may be larger."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and abs(value) <= sys.float_info.max
