"""metrics.csv, the log of a run: rows that fill a few columns each."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from rtseg.errors import UserError

_MOST_STEPS = 2**53  # whole numbers end here
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class MetricsLog:
    """The rows of metrics.csv; a row holds the columns that it filled, `step` among them."""

    rows: tuple[dict[str, float], ...]

    @property
    def columns(self) -> list[str]:
        """All names, sorted."""
        return sorted({name for row in self.rows for name in row})

    def points(self, name: str) -> Points:
        """(step, value) in the order of steps, values that are not finite left out; of two at one step the later."""
        values = {row["step"]: row[name] for row in self.rows if name in row}
        return sorted((step, value) for step, value in values.items() if math.isfinite(value))

    def not_finite(self, name: str) -> int:
        """How many logged values are NaN or infinite."""
        return sum(not math.isfinite(row[name]) for row in self.rows if name in row)

    @property
    def last_step(self) -> float:
        """The highest step of any row."""
        return max(row["step"] for row in self.rows)

    @property
    def finished_steps(self) -> float:
        """How many steps were made by the last row: Lightning's rows, which say the epoch, count from 0."""
        return max(row["step"] + ("epoch" in row) for row in self.rows)

    @property
    def best(self) -> dict[str, float] | None:
        """The row of the highest `val/miou`, the first of equals as for best.ckpt; None before the first validation."""
        validations = {row["step"]: row for row in self.rows if math.isfinite(row.get("val/miou", math.nan))}
        return max(validations.values(), key=lambda row: row["val/miou"], default=None)


def read_log(file: Path) -> MetricsLog:
    """The log of a run, which may still be written.

    Raises:
        UserError: no row in it, or one that is damaged.
    """
    text = file.read_text(errors="backslashreplace")
    complete = text[: text.rfind("\n") + 1]  # a training that is writing may have got half way through its last line
    rows = []
    reader = csv.DictReader(io.StringIO(complete))
    try:
        for row in reader:
            rows.append({name: float(value) for name, value in row.items() if value})
            if not 0 <= rows[-1]["step"] <= _MOST_STEPS:
                raise ValueError
    except (csv.Error, ValueError, TypeError, KeyError):
        raise UserError(
            f"'{file}', line {reader.line_num} is not a row of numbers with a step; "
            "put the file back as training wrote it"
        ) from None
    if not rows:
        raise UserError(
            f"'{file}' does not contain a row: the training ended before its first log "
            "(trainer.log_every_n_steps). Train again"
        )
    return MetricsLog(tuple(rows))
