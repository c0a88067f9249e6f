"""What a comparison of insertions found for networks that have no engines to time: what the insertion adds, and the
scores where trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rtseg.output.table import Cell, Column, Table
from rtseg.studies.compare.carry_out import RunScores
from rtseg.studies.compare.costs import Costs, Placed
from rtseg.studies.compare.insertions import Insertions
from rtseg.studies.compare.page import page
from rtseg.studies.compare.plot import plot_insertions
from rtseg.studies.compare.rows import Row, baseline
from rtseg.studies.compare.scores import Scores
from rtseg.studies.runs.recipe import Recipe
from rtseg.studies.runs.task import Task


class Counted(NamedTuple):
    """A row's network: its parameters, and what is inserted where."""

    parameters: int
    inserted: tuple[Placed, ...]


@dataclass(frozen=True)
class InsertionReport:
    """Rows with all that was found of them.

    Attributes:
        model: the network of the rows that do not name one.
        counted: of each row.
        positions: what the table of places shows.
        recipe: of the trainings, None where nothing was trained.
        scores: (row, seed) -> those of `Training.score`.
    """

    task: Task
    model: str
    insertions: Insertions
    counted: Mapping[Row, Counted]
    costs: Costs
    positions: Sequence[Placed]
    recipe: Recipe | None
    scores: RunScores

    @property
    def trained(self) -> Scores:
        """What the trainings scored."""
        return Scores(self.task.shown, self.scores)

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        rows, trained = self.insertions.rows, self.trained
        return {
            "model": self.model,
            "places": self.costs.to_dict(),
            "recipe": self.recipe and self.recipe.to_dict(),
            "seed_noise": {name: trained.noise(rows, name) for name in self.task.shown},
            "notes": list(self.insertions.notes),
            "rows": [self._row(row) for row in rows],
        }

    def _row(self, row: Row) -> dict[str, Any]:
        counted = self.counted[row]
        return {
            "name": row.name,
            "model": row.model or self.model,
            "insert": {place: list(texts) for place, texts in (row.insert or {}).items()},
            "parameters": counted.parameters,
            "added": self.costs.added(counted.inserted, self.task.images)._asdict(),
            "paper_figures": [figure.to_dict() for figure in row.figures],
            "trained": self.trained.to_dict(row, baseline(self.insertions.rows, row.model)),
        }

    def table(self) -> Table:
        """A line a row."""
        columns = [
            Column("network", left=True, prose=True),
            Column("params", form="{:.3f} M", yields=5),
            Column("added params", form="{:,}", yields=4),
            Column("added MACs", form="{:.3g} G", yields=3),
            Column("added ms", form="{:.1f}", yields=6),
            Column("memory", form="{:,.1f} MB", yields=2),
            Column(self.task.paper, left=True, optional=True, yields=1),
            *self.trained.columns(),
        ]
        height, width = self.costs.size
        title = f"Insertions compared in {self.model}: what they add, image of {height}x{width}"
        return Table(title, columns, [self._line(row) for row in self.insertions.rows])

    def _line(self, row: Row) -> list[Cell]:
        found = self._row(row)
        added = self.costs.added(self.counted[row].inserted, self.task.images)
        memory = added.peak_bytes / 1e6
        return [
            row.name,
            found["parameters"] / 1e6,
            added.parameters,
            None if added.macs is None else added.macs / 1e9,
            added.median_ms,
            (memory if added.measured else f"{memory:,.1f} MB computed") if row.insert else None,
            "; ".join(map(str, row.figures)),
            *self.trained.cells(found["trained"]),
        ]

    def tables(self) -> list[Table]:
        """The rows, and the places of the first paper's Table 1 where that is asked for."""
        return [self.table(), *([self.costs.table(self.positions)] if self.positions else [])]

    def conditions(self) -> list[str]:
        """Under which conditions the figures hold, and what the columns mean."""
        seen = "" if self.task.images == 1 else f", for the {self.task.images} images of a sample"
        found = [
            *self.costs.notes(),
            f"added: by all that is inserted{seen}; ms: the sum of their medians, each alone; "
            "memory: the largest peak of one of them",
            *self.insertions.notes,
        ]
        if self.recipe:
            recipe = self.recipe
            found.append(
                f"{', '.join(self.task.shown.values())} here: {' '.join([str(recipe.config), *recipe.flags])}, data "
                f"{recipe.data}, last of {recipe.epochs} epochs; {self.trained.spread(self.insertions.rows)}"
            )
        return found

    def remarks(self) -> list[str]:
        """What has to be known to read the table."""
        return self.costs.reasons(self.positions)

    def markdown(self) -> str:
        """The tables for a page, with the notes below them."""
        return page(self.tables(), [*self.conditions(), *self.remarks()])

    def svg(self) -> str:
        """What is added, and the scores, drawn."""
        return plot_insertions([self._row(row) for row in self.insertions.rows], self.task.shown)
