"""Attention at named places of a network that was made without it.

Shen et al. (https://arxiv.org/abs/1812.01243, sections 4.1 and 4.2) put factorized attention behind stages of a ResNet,
behind levels of an FPN, and into PSMNet. An inserted attention stands in a residual connection and gives zeros at
first, so that the network computes what it did without it until training changes that.

B batch, C channels, H, W height and width of a feature map.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import filter as matching
from typing import Any, NamedTuple

from torch import Tensor, nn

from rtseg.attention.build import create_attention
from rtseg.attention.grammar import parse_branch
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.registry import suggest

Insertion = Mapping[str, Sequence[str]]
"""Place, or pattern of places such as "fpn.*" -> the attentions there, one after the other."""


class Inserted(nn.Sequential):
    """x (B, C, H, W) -> x + attention(x), for each attention in turn.

    Args:
        attentions: choices for one branch, such as "fa:basis=64:heads=1".
        channels: C.
        place: of the network, for messages.

    Raises:
        UserError: an unknown attention, a bad option, or an attention that reads a second map or cannot start at zero.
    """

    def __init__(self, attentions: Sequence[str], channels: int, place: str = "") -> None:
        super().__init__()
        for text in attentions:
            _check_choice(text)
            attention = create_attention(text, channels)
            attention.start_at_zero()
            attention.place = place
            self.append(attention)

    def forward(self, x: Tensor) -> Tensor:
        for attention in self:
            x = x + attention(x)
        return x


class HasPlaces(nn.Module):
    """Base of networks, or of parts of them, that attention can be inserted into.

    The forward of a subclass calls `x = self.at("layer3", x)` where the place is. So nothing that is inserted renames
    an entry of the state dict.

    Attributes:
        places: place -> channels and stride of the map there. The constructor sets it.
        prefix: what users write before its places, such as "fpn.".
        inserted: place -> what stands there.
    """

    places: Mapping[str, FeatureInfo] = {}
    prefix = ""

    def __init__(self) -> None:
        super().__init__()
        self.inserted = nn.ModuleDict()

    def at(self, place: str, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, changed by what stands at the place."""
        return self.inserted[place](x) if place in self.inserted else x


class Place(NamedTuple):
    """A place of a network: the part that it belongs to, its name there, and the map."""

    owner: HasPlaces
    key: str
    info: FeatureInfo


def list_places(network: nn.Module) -> dict[str, Place]:
    """All places of a network, in the order of its parts, by the names that users write."""
    owners = [module for module in network.modules() if isinstance(module, HasPlaces)]
    return {f"{owner.prefix}{key}": Place(owner, key, info) for owner in owners for key, info in owner.places.items()}


def insert(network: nn.Module, insertion: Insertion) -> dict[str, tuple[str, ...]]:
    """Inserts attentions at places of a network. Where several patterns name a place, all act, in their order.

    Returns:
        Place -> attentions, in the order of the places, without patterns.

    Raises:
        UserError: see `resolve` and `Inserted`.
    """
    places = list_places(network)
    found = resolve(insertion, list(places))
    for name, attentions in found.items():
        owner, key, info = places[name]
        try:
            owner.inserted[key] = Inserted(attentions, info.channels, name)
        except UserError as error:
            raise UserError(f"insert {name}={' '.join(attentions)} ({info.channels} channels): {error}") from None
    return found


def inserted_entries(network: nn.Module) -> dict[str, str]:
    """Place where something is inserted -> what the names of its entries in the network's state dict begin with."""
    names = {id(module): name for name, module in network.named_modules()}
    return {
        place: f"{names[id(found.owner.inserted[found.key])]}."
        for place, found in list_places(network).items()
        if found.key in found.owner.inserted
    }


def resolve(insertion: Insertion, places: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Place -> attentions, in the order of `places`, without patterns.

    Raises:
        UserError: a place or a pattern that the network does not have; the message names those that it has.
    """
    found: dict[str, tuple[str, ...]] = {}
    for pattern, attentions in insertion.items():
        names = matching(places, pattern)
        if not names:
            if not places:
                raise UserError(f"insert {pattern}: this network has no places for an attention")
            raise UserError(f"insert: unknown place '{pattern}'.{suggest(pattern, places)}")
        for name in names:
            found[name] = (*found.get(name, ()), *attentions)
    return {name: found[name] for name in places if name in found}


def described(insertion: Insertion) -> str:
    """For the user: each attention once, with its places, as in 'fa:basis=64:heads=1 at fpn.p2, fpn.p3'."""
    places: dict[tuple[str, ...], list[str]] = {}
    for place, attentions in insertion.items():
        places.setdefault(tuple(attentions), []).append(place)
    return "; ".join(f"{' and '.join(texts)} at {', '.join(names)}" for texts, names in places.items())


def as_insertion(given: Mapping[str, Any] | None) -> dict[str, tuple[str, ...]]:
    """What users write: one attention or a list of them for each place. {"fpn": {"*": ...}} is "fpn.*", as a command
    line takes it apart.

    Raises:
        UserError: no text, or an attention that does not exist or cannot be inserted.
    """
    if given is not None and not isinstance(given, Mapping):
        raise UserError(f"insert={given!r}: write places and attentions, as in insert={{'layer3': 'fa'}}")
    found: dict[str, tuple[str, ...]] = {}
    for place, choice in _flat(given or {}):
        texts = (choice,) if isinstance(choice, str) else tuple(choice) if isinstance(choice, list | tuple) else ()
        if not isinstance(place, str) or not texts or not all(isinstance(text, str) and text for text in texts):
            raise UserError(f"insert {place}={choice!r}: write an attention such as 'fa:basis=64', or a list of them")
        for text in texts:
            _check_choice(text)
        found[place] = texts
    return found


def _flat(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, choice in given.items():
        if isinstance(choice, Mapping):
            yield from ((f"{place}.{inner}", texts) for inner, texts in _flat(choice))
        else:
            yield place, choice


def _check_choice(text: str) -> None:
    """Raises: UserError where this cannot stand at one place."""
    if "+" in text:
        raise UserError(f"'{text}' names an attention for each of two branches; at a place stands one, as in 'fa'")
    spec = parse_branch(text)
    if get_mechanism(spec.name).needs_context:
        raise UserError(
            f"attention '{spec.name}' reads a second map, and there is one at a place: insert another, such as 'fa'"
        )
