"""How a user names an attention: text -> choice.

The grammar is safe in a shell, in make and in YAML:

    pair   = branch | branch "+" branch        low-resolution branch first; one name serves both
    branch = name (":" option "=" value)*      gfa+ca   sa   sa:reduction=1   gfa:groups=4+ca:cross_size=12
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rtseg.attention.registry import get_mechanism
from rtseg.checks import check_finite
from rtseg.errors import UserError
from rtseg.registry import suggest


@dataclass(frozen=True)
class AttentionSpec:
    """One branch's choice, taken apart: `sa:heads=2` -> name "sa", options {"heads": 2}."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def parse_branch(text: str) -> AttentionSpec:
    """The choice for one branch.

    Raises:
        UserError: unknown mechanism or option, or a value of another type; the message names the right ones.
    """
    name, *pairs = text.split(":")
    known = get_mechanism(name).options()
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not value:
            example = f"{name}:{next(iter(known), 'option')}=4"
            raise UserError(f"attention '{text}': '{pair}' is not option=value, as in '{example}'")
        if key not in known:
            raise UserError(f"attention '{name}' has no option '{key}'.{suggest(key, known)}")
        if key in options:
            raise UserError(f"attention '{text}': option '{key}' is given twice; keep one")
        options[key] = _parse_value(name, key, value, known[key])
    return AttentionSpec(name, options)


def parse_attention(text: str) -> tuple[AttentionSpec, AttentionSpec]:
    """`low+high`, or one choice for both branches -> (low, high).

    Raises:
        UserError: bad grammar or name, or a mechanism in the low branch that needs the low branch as its context.
    """
    parts = text.split("+") if isinstance(text, str) else []
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise UserError(f"attention '{text}': write 'low+high', as in 'gfa+ca', or one name for both, as in 'sa'")
    low, high = parse_branch(parts[0]), parse_branch(parts[-1])
    if get_mechanism(low.name).needs_context:
        raise UserError(
            f"attention '{text}': '{low.name}' reads the low-resolution branch, so it can stand only in the high one; "
            f"write for example 'gfa+{parts[-1]}'"
        )
    return low, high


def _parse_value(name: str, key: str, value: str, kind: type) -> Any:
    try:
        found = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError):
        raise UserError(f"attention '{name}': {key}={value} is not of type {kind.__name__}") from None
    if kind is float:
        check_finite(f"attention '{name}': {key}", found)
    return found
