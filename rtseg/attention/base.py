"""What an attention is to the rest of rtseg, how one is named, and how it is built from its name.

An attention maps a feature map to a feature map: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride)). It
holds no pre-norm, no residual and no drop path; the block around it does, so that two rows of an ablation differ in the
attention alone.

Grammar of a choice, safe in a shell, in make and in YAML:

    pair   = branch | branch "+" branch        low-resolution branch first; one name serves both
    branch = name (":" option "=" value)*      gfa+ca   sa   sa:reduction=1   gfa:groups=4+ca:cross_size=12
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.registry import Registry, suggest

Branch = Literal["low", "high"]


@dataclass(frozen=True)
class Cost:
    """What an attention takes, from its closed form.

    Attributes:
        parameters: numbers that are learnt.
        macs: multiply-adds of one picture: a profiler's FLOPs / 2. Pooling, norms and softmax do not count.
        activation_floats: numbers that one picture's forward pass writes down, for mechanisms whose paper counts them.
    """

    parameters: int
    macs: int
    activation_floats: int | None = None


class AttentionMap(NamedTuple):
    """What looks at what.

    Attributes:
        weights: (B, heads, N, M): how much each of N positions of the output takes from each of M keys.
        key_size: (h, w) where the keys are places of a map, M = h * w; None where they are slots of a memory.
    """

    weights: Tensor
    key_size: tuple[int, int] | None


class Attention(nn.Module):
    """Base of every mechanism.

    A subclass takes `(in_channels, out_channels=None, *, stride=1, context_channels=None, **options)`; its keyword-only
    parameters after these two are the options of the grammar, checked against their annotations.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x: (B, in, H, W); context: the low-resolution map (B, context, h, w), for mechanisms that need it."""
        raise NotImplementedError

    def cost(self, height: int, width: int, context_size: tuple[int, int] | None = None) -> Cost:
        """For one picture whose input map is (height, width) and whose context map, if read, is `context_size`."""
        raise NotImplementedError

    def attention_map(self, x: Tensor, context: Tensor | None = None, *, at: int | None = None) -> AttentionMap:
        """The weights behind `forward(x, context)`, written out; for drawing and tests, not for speed.

        Args:
            at: a position of the output, in raster order: only its row is made, N = 1, in memory linear in the number
                of positions.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Mechanism:
    """A registered attention: its class, whether it reads the other branch, its options' defaults in each branch."""

    cls: type[Attention]
    needs_context: bool
    defaults: Mapping[str, Mapping[str, Any]]

    def options(self) -> dict[str, type]:
        """Option name -> type, read from the constructor."""
        parameters = inspect.signature(self.cls).parameters.values()
        names = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
        return {name: kind for name, kind in names.items() if name not in ("stride", "context_channels")}

    def default_options(self, branch: Branch) -> dict[str, Any]:
        """Option name -> the value that it has in `branch` where a choice does not name it."""
        parameters = inspect.signature(self.cls).parameters
        return {**{name: parameters[name].default for name in self.options()}, **self.defaults[branch]}


_ATTENTIONS: Registry[Mechanism] = Registry("attention")


def register_attention(
    name: str,
    *,
    needs_context: bool = False,
    low: Mapping[str, Any] | None = None,
    high: Mapping[str, Any] | None = None,
) -> Callable[[type[Attention]], type[Attention]]:
    """Class decorator. `low` and `high` are the defaults of the options in that branch."""

    def decorate(cls: type[Attention]) -> type[Attention]:
        _ATTENTIONS.register(name)(Mechanism(cls, needs_context, {"low": low or {}, "high": high or {}}))
        return cls

    return decorate


def list_attentions() -> list[str]:
    """Names of all mechanisms."""
    return _ATTENTIONS.names()


def get_mechanism(name: str) -> Mechanism:
    """What is registered under `name`.

    Raises:
        UserError: nothing is; the message names the nearest mechanism and all of them.
    """
    return _ATTENTIONS.get(name)


def attention_name(attention: Attention) -> str:
    """The name that its mechanism is registered under."""
    return next(name for name in list_attentions() if _ATTENTIONS.get(name).cls is type(attention))


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
    known = _ATTENTIONS.get(name).options()
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not value:
            example = f"{name}:{next(iter(known), 'option')}=4"
            raise UserError(f"attention '{text}': '{pair}' is not option=value, as in '{example}'")
        if key not in known:
            raise UserError(f"attention '{name}' has no option '{key}'.{suggest(key, known)}")
        if key in options:
            raise UserError(f"attention '{text}': option '{key}' is given twice; leave one")
        options[key] = _parse_value(name, key, value, known[key])
    return AttentionSpec(name, options)


def _parse_value(name: str, key: str, value: str, kind: type) -> Any:
    try:
        return kind(value)
    except ValueError:
        raise UserError(f"attention '{name}': {key}={value} is not of type {kind.__name__}") from None


def parse_attention(text: str) -> tuple[AttentionSpec, AttentionSpec]:
    """`low+high`, or one choice for both branches -> (low, high).

    Raises:
        UserError: bad grammar or name, or a mechanism in the low branch that needs the low branch as its context.
    """
    parts = text.split("+") if isinstance(text, str) else []
    if not 1 <= len(parts) <= 2 or not all(parts):
        raise UserError(f"attention '{text}': write 'low+high', as in 'gfa+ca', or one name for both, as in 'sa'")
    low, high = parse_branch(parts[0]), parse_branch(parts[-1])
    if _ATTENTIONS.get(low.name).needs_context:
        raise UserError(
            f"attention '{text}': '{low.name}' reads the low-resolution branch, so it can stand only in the high one; "
            f"write for example 'gfa+{parts[-1]}'"
        )
    return low, high


def parse_for_network(text: str, *, cross_size: int) -> tuple[AttentionSpec, AttentionSpec]:
    """`parse_attention` for a network with a `cross_size` of its own, which holds unless the text names one."""
    low, high = parse_attention(text)
    if high.name == "ca":
        high = AttentionSpec(high.name, {"cross_size": cross_size, **high.options})
    return low, high


def resolve_attention(text: str, *, cross_size: int) -> tuple[AttentionSpec, AttentionSpec]:
    """`parse_for_network` with every option's value in it, also where the text leaves it to the branch's default.

    So two texts for the same network give the same answer.
    """
    low, high = parse_for_network(text, cross_size=cross_size)
    return _complete(low, "low"), _complete(high, "high")


def _complete(spec: AttentionSpec, branch: Branch) -> AttentionSpec:
    return AttentionSpec(spec.name, {**_ATTENTIONS.get(spec.name).default_options(branch), **spec.options})


def create_attention(
    spec: str | AttentionSpec,
    in_channels: int,
    out_channels: int | None = None,
    *,
    stride: int = 1,
    context_channels: int | None = None,
    branch: Branch = "high",
) -> Attention:
    """Builds the attention of one branch.

    Args:
        spec: one branch's choice, e.g. "gfa:groups=4".
        context_channels: channels of the low-resolution map that a mechanism such as `ca` reads.
        branch: whose defaults apply where the choice names no option.

    Raises:
        UserError: see `parse_branch`; or `ca` in the low branch, or sizes that do not divide.
    """
    spec = parse_branch(spec) if isinstance(spec, str) else spec
    if branch not in ("low", "high"):
        raise UserError(f"branch '{branch}': there are two, 'low' and 'high'")
    mechanism = _ATTENTIONS.get(spec.name)
    if mechanism.needs_context and branch == "low":
        raise UserError(f"attention '{spec.name}' reads the low-resolution branch: it can stand only in the high one")
    if mechanism.needs_context and context_channels is None:
        raise UserError(f"attention '{spec.name}' reads another feature map: pass its channels as context_channels")
    options = _complete(spec, branch).options
    return mechanism.cls(in_channels, out_channels, stride=stride, context_channels=context_channels, **options)


def check_divides(name: str, option: str, parts: int, whole: int) -> None:
    """`option` of attention `name` splits `whole` channels into equal parts.

    Raises:
        UserError: it does not; the message lists the numbers that do.
    """
    if parts < 1 or whole % parts:
        good = [n for n in range(1, min(whole, 64) + 1) if whole % n == 0]
        raise UserError(f"attention '{name}': {option}={parts} does not divide {whole} channels; choose one of {good}")


def check_between(name: str, option: str, value: float, most: int, least: int = 1) -> None:
    """`most` is far above what any paper uses, and below what would fill the memory before a message could be given.

    Raises:
        UserError: `value` is not from `least` to `most`.
    """
    if not least <= value <= most:
        raise UserError(f"attention '{name}': {option}={value} must be from {least} to {most}")


def check_choice(name: str, option: str, value: str, choices: Sequence[str]) -> None:
    """Raises: UserError where `value` is none of `choices`; the message names the nearest one and all of them."""
    if value not in choices:
        raise UserError(f"attention '{name}': {option}={value} is unknown.{suggest(value, choices)}")
