"""What the trainings of a comparison scored: means over the seeds, differences to the baseline, and their noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from rtseg.output.table import Cell, Column
from rtseg.studies.compare.rows import Row
from rtseg.studies.runs.paired import differences, standard_error


@dataclass(frozen=True)
class Scores:
    """Scores of the last epoch.

    Attributes:
        shown: name of a score -> its heading, as {"miou": "mIoU"}.
        found: (row, seed) -> scores by name.
    """

    shown: Mapping[str, str]
    found: Mapping[tuple[Row, int], Mapping[str, float]]

    def of(self, row: Row, name: str) -> dict[int, float]:
        """One score of a row, by seed."""
        return {seed: score[name] for (own, seed), score in self.found.items() if own == row}

    def noise(self, rows: Sequence[Row], name: str) -> float | None:
        """Standard deviation of a score between seeds, pooled over the rows; None where no row has two seeds."""
        spreads = [stdev(values.values()) for row in rows if len(values := self.of(row, name)) > 1]
        return math.sqrt(mean(spread**2 for spread in spreads)) if spreads else None

    def to_dict(self, row: Row, base: Row) -> dict[str, Any] | None:
        """Mean of each score, its difference to that of `base` over the seeds that both have, and the standard error
        of that difference; then the seeds. JSON types; None where the row was not trained.
        """
        seeds = {seed: dict(score) for (own, seed), score in self.found.items() if own == row}
        if not seeds:
            return None
        found: dict[str, Any] = {}
        for name in self.shown:
            ours = self.of(row, name)
            gains = differences(ours, self.of(base, name))
            found[name] = mean(ours.values())
            found[f"{name}_difference"] = mean(gains) if gains else None
            found[f"{name}_difference_error"] = None if row == base else standard_error(gains)
        return {**found, "seeds": seeds}

    def columns(self) -> list[Column]:
        """The columns of a table; none where nothing was trained."""
        found = []
        for heading in self.shown.values() if self.found else ():
            of = f"{heading} " if len(self.shown) > 1 else ""
            found += [
                Column(f"{heading} here", form="{:.4f}"),
                Column(f"{of}each seed", yields=7),
                Column(f"{of}difference", form="{:+.4f}"),
                Column(f"{of}standard error", form="{:.4f}", optional=True, yields=int(bool(of))),
            ]
        return found

    def cells(self, trained: Mapping[str, Any] | None) -> list[Cell]:
        """The cells of one row, for `columns`.

        Args:
            trained: what `to_dict` gave.
        """
        own = trained or {}
        found: list[Cell] = []
        for name in self.shown if self.found else ():
            each = ", ".join(f"{score[name]:.4f}" for score in own.get("seeds", {}).values())
            found += [own.get(name), each, own.get(f"{name}_difference"), own.get(f"{name}_difference_error")]
        return found

    def spread(self, rows: Sequence[Row]) -> str:
        """How much the seed alone moves the scores, in words."""
        noises = {heading: self.noise(rows, name) for name, heading in self.shown.items()}
        known = {heading: noise for heading, noise in noises.items() if noise is not None}
        if not known:
            return "one seed a row, so the noise between seeds is unknown"
        first = next(iter(self.shown))
        each = min(n for row in rows if (n := len(self.of(row, first))))
        many = len(self.shown) > 1
        deviations = " and ".join(f"{noise:.4f}{f' of {heading}' * many}" for heading, noise in known.items())
        errors = " and ".join(f"{noise * math.sqrt(2 / each):.4f}" for noise in known.values())
        return (
            f"between seeds the standard deviation is {deviations} (pooled over the rows), so that of a "
            f"difference between two rows of {each} seeds is {errors}"
        )
