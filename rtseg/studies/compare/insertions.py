"""The rows of a comparison of what is inserted into one network: none, and what is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtseg.attention.grammar import parse_branch
from rtseg.attention.insertion import Insertion, as_insertion, resolve
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.studies.compare.rows import Row
from rtseg.studies.runs.variant import PLAIN


def choose_insertions(texts: Sequence[str], places: Sequence[str], attention: str) -> tuple[Row, ...]:
    """Rows as the command line has them, each once, after the baseline, in which nothing is inserted.

    Args:
        texts: "none", or places with attentions, as "layer3=fa:basis=64 fpn.*=fa".
        places: of the network.
        attention: the network's own.

    Raises:
        UserError: a row that is not written so, an unknown place or attention, or the same network twice.
    """
    rows = [Row(attention, insert={}, is_baseline=True)]
    chosen = {_network({}, places): PLAIN}
    for text in texts:
        insert = parse_insertion(text)
        network = _network(insert, places)
        if insert and network in chosen:
            raise UserError(f"--insert '{text}' is '{chosen[network]}' once more; leave one")
        if network not in chosen:
            chosen[network] = text
            rows.append(Row(attention, insert=insert))
    return tuple(rows)


def parse_insertion(text: str) -> dict[str, tuple[str, ...]]:
    """A row as it is typed -> place or pattern -> attentions. Raises: UserError where it is not written so."""
    words = text.split()
    if words == [PLAIN]:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for word in words or [text]:
        place, equals, attention = word.partition("=")
        if not (place and equals and attention):
            raise UserError(
                f"--insert '{text}': '{word}' is not PLACE=ATTENTION; write '{PLAIN}', or places with attentions, as "
                "in --insert 'layer3=fa:basis=64:heads=1 fpn.*=fa'"
            )
        found[place] = (*found.get(place, ()), attention)
    try:
        return as_insertion(found)
    except UserError as error:
        raise UserError(f"--insert '{text}': {error}") from None


def _network(insert: Insertion, places: Sequence[str]) -> Any:
    """Equal where two insertions make the same network, however they are spelled."""
    return tuple((place, tuple(map(_complete, texts))) for place, texts in resolve(insert, places).items())


def _complete(text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Name and all options of an attention."""
    spec = parse_branch(text)
    options: Mapping[str, Any] = {**get_mechanism(spec.name).default_options("high"), **spec.options}
    return spec.name, tuple(sorted(options.items()))
