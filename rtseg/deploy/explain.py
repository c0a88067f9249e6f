"""Which engine was taken and why, as `rtseg predict --explain` and `print` show it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtseg.output.table import Column, Table, as_text, show


@dataclass(frozen=True)
class Measured:
    """An engine that was tried.

    Attributes:
        ms: median time from a batch of images to its class maps; None where it was not timed.
        equal_percent: of the pixels, those whose class plain float32 PyTorch gives; None where it could not run.
        refused: why it was not timed.
    """

    engine: str
    ms: float | None = None
    equal_percent: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class Choice:
    """The engine that was chosen, and why.

    Attributes:
        reason: why it is this one, for "it is taken because".
        measured: the engines that were tried, the fastest first; empty where nothing was measured.
        conditions: under which this holds. Plain JSON.
        date: of the measurement.
        file: where it is kept; None where it is not.
    """

    engine: str
    reason: str
    measured: tuple[Measured, ...] = ()
    conditions: dict[str, Any] | None = None
    date: str = ""
    file: Path | None = None

    def __str__(self) -> str:
        table, notes = explanation(self)
        return as_text(*[table] if table else [], notes=notes)


def show_choices(choices: Iterable[Choice]) -> None:
    """Prints why each engine was taken, what is the same for several sizes once."""
    said: list[list[str]] = []
    for choice in choices:
        table, notes = explanation(choice)
        if notes not in said:
            said.append(notes)
            show(*[table] if table else [], notes=notes)


def explanation(choice: Choice) -> tuple[Table | None, list[str]]:
    """What was measured, as a table, and sentences about the choice; no table where nothing was measured."""
    notes = [f"engine: {choice.engine}, because {choice.reason}"]
    if not choice.measured:
        return None, notes
    assert choice.conditions is not None
    columns = [
        Column("engine", left=True),
        Column("image → class map", unit="ms", form="{:.2f}"),
        Column("times", form="{:.2f}"),
        Column("equal", unit="%", form="{:.3f}"),
        Column("not taken because", left=True, optional=True, prose=True),
    ]
    eager = next((one.ms for one in choice.measured if one.engine == "eager"), None)
    rows = [
        (one.engine, one.ms, eager and one.ms and eager / one.ms, one.equal_percent, one.refused)
        for one in choice.measured
    ]
    conditions = choice.conditions
    size = conditions["size_class"]
    facts = [conditions["device"], f"{conditions['threads']} threads", " ".join(conditions["instruction_sets"])]
    notes += [
        "times: as fast as engine eager; equal: pixels that have the class of plain float32 PyTorch",
        f"measured on {choice.date}: {', '.join(fact for fact in facts if fact)}; images of "
        f"{2 ** (size - 0.5) / 1e6:.2g} to {2 ** (size + 0.5) / 1e6:.2g} million pixels",
    ]
    if choice.file:
        notes.append(f"kept in {choice.file}; remove this file to measure again")
    return Table(f"Engines for {conditions['network']}", columns, rows), notes
