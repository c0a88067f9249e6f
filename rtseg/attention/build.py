"""From a choice to a module: `create_attention` for one branch, `resolve_attention` for a network's two."""

from collections.abc import Mapping
from typing import Any

from rtseg.attention.base import Attention
from rtseg.attention.grammar import AttentionSpec, parse_attention, parse_branch
from rtseg.attention.registry import Branch, get_mechanism
from rtseg.errors import UserError


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
    mechanism = get_mechanism(spec.name)
    if mechanism.needs_context and branch == "low":
        raise UserError(f"attention '{spec.name}' reads the low-resolution branch: it can stand only in the high one")
    if mechanism.needs_context and context_channels is None:
        raise UserError(f"attention '{spec.name}' reads another feature map: pass its channels as context_channels")
    options = _complete(spec, branch, {}).options
    try:
        return mechanism.cls(in_channels, out_channels, stride=stride, context_channels=context_channels, **options)
    except UserError as error:
        raise UserError(f"attention '{spec.name}': {error}") from None


def resolve_attention(text: str, from_network: Mapping[str, Any]) -> tuple[AttentionSpec, AttentionSpec]:
    """The choices for both branches of a network, (low, high), with the value of every option.

    An option has the value that the text names, else the network's, else the branch's default. So two texts for the
    same network give the same answer.

    Args:
        from_network: values that the network has for attentions that ask for them, e.g. {"cross_size": 12}; others in
            the mapping are ignored.

    Raises:
        UserError: see `parse_attention`.
    """
    low, high = parse_attention(text)
    return _complete(low, "low", from_network), _complete(high, "high", from_network)


def _complete(spec: AttentionSpec, branch: Branch, from_network: Mapping[str, Any]) -> AttentionSpec:
    mechanism = get_mechanism(spec.name)
    handed = {option: from_network[option] for option in mechanism.from_network if option in from_network}
    return AttentionSpec(spec.name, {**mechanism.default_options(branch), **handed, **spec.options})
