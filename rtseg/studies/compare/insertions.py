"""The rows of a comparison of what is inserted into one network: none, what is asked for, rows of the first paper."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from rtseg.attention.grammar import parse_branch
from rtseg.attention.insertion import Insertion, as_insertion, list_places, resolve
from rtseg.attention.registry import get_mechanism
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.studies.compare import paper
from rtseg.studies.compare.rows import Row
from rtseg.studies.runs.task import Task
from rtseg.studies.runs.typed import check_typed, read_typed
from rtseg.studies.runs.variant import PLAIN


@dataclass(frozen=True)
class Insertions:
    """What is compared.

    Attributes:
        rows: the baseline first.
        positions: place of the network -> the first paper's name, where its Table 1 is asked for.
        notes: what has to be known of the paper's rows.
    """

    rows: tuple[Row, ...]
    positions: Mapping[str, str]
    notes: tuple[str, ...]


def choose_insertions(
    texts: Sequence[str], places: Mapping[str, FeatureInfo], task: Task, model: str, attention: str
) -> Insertions:
    """Rows as the command line has them, each once, after the baseline, in which nothing is inserted.

    Args:
        texts: "none", places with attentions as "layer3=fa:basis=64 fpn.*=fa", or a table of the first paper.
        places: of the network.
        model, attention: the network's name, and its own attention.

    Raises:
        UserError: a row that is not written so, an unknown place or attention, the same network twice, or a table that
            does not suit the task or the network.
    """
    check_typed(texts, task)
    chosen: dict[Any, Row] = {}
    typed: dict[Any, str] = {}
    notes: list[str] = []

    def add(row: Row) -> Any:
        key = (row.model, _network(row.insert or {}, places))
        known = chosen.get(key)
        chosen[key] = replace(known, figures=(*known.figures, *row.figures)) if known else row
        return key

    add(Row(attention, insert={}, is_baseline=True))
    for text in texts:
        if text in task.tables:
            key: Any = text
            of_table, missing = _of_table(text, places, model, attention)
            notes += missing
            for row in of_table:
                add(row)
        else:
            key = add(Row(attention, insert=parse_insertion(text, task)))
        if key in typed and text != PLAIN:
            raise UserError(f"--insert '{text}' is '{typed[key]}' once more; leave one")
        typed[key] = text
    rows = tuple(chosen.values())
    figures = {figure for row in rows for figure in row.figures}
    own = {paper.own_place(name, places): name for name in paper.POSITIONS} if "table1" in texts else {}
    positions = {place: name for place, name in own.items() if place}
    return Insertions(rows, positions, (*notes, *paper.notes(figures, places)))


def places_of(network: nn.Module) -> dict[str, FeatureInfo]:
    """Place -> channels and stride of the map there."""
    return {name: place.info for name, place in list_places(network).items()}


def parse_insertion(text: str, task: Task) -> dict[str, tuple[str, ...]]:
    """A row as it is typed -> place or pattern -> attentions. Raises: UserError where it cannot be that."""
    typed = read_typed(text, task)
    try:
        return as_insertion(typed)
    except UserError as error:
        raise UserError(f"--insert '{text}': {error}") from None


def _of_table(name: str, places: Mapping[str, FeatureInfo], model: str, attention: str) -> tuple[list[Row], list[str]]:
    """The rows of a table that the network has places for, and a line about the others."""
    rows: list[Row] = []
    missing: list[str] = []
    for figure in paper.TABLES[name]:
        insert = figure.insert(places)
        if insert is None:
            missing.append(figure.name)
        else:
            other = None if figure.model in (None, model) else figure.model
            rows.append(Row(attention, insert=insert, model=other, figures=(figure,), is_baseline=not insert))
    if not any(row.insert for row in rows):
        raise UserError(
            f"--insert {name}: {model} does not have the places of its rows ({'; '.join(missing)}); it has "
            f"{', '.join(places) or 'none'}"
        )
    left_out = f"Table {name[-1]}: left out, since {model} does not have the places: {'; '.join(missing)}"
    return rows, [left_out] * bool(missing)


def _network(insert: Insertion, places: Mapping[str, FeatureInfo]) -> Any:
    """Equal where two insertions make the same network, however they are spelled."""
    return tuple((place, tuple(map(_complete, texts))) for place, texts in resolve(insert, list(places)).items())


def _complete(text: str) -> tuple[str, tuple[tuple[str, Any], ...]]:
    """Name and all options of an attention."""
    spec = parse_branch(text)
    options: Mapping[str, Any] = {**get_mechanism(spec.name).default_options("high"), **spec.options}
    return spec.name, tuple(sorted(options.items()))
