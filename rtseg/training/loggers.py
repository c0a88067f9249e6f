"""The CSV log of a run, which a resumed training goes on writing instead of starting over."""

import csv
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment


class ResumableCSVLogger(CSVLogger):
    """`metrics.csv` in `folder`. Lightning's logger deletes an earlier file; this one keeps its rows up to the resumed
    step.

    Args:
        resumed_step: the global step that training goes on from, None for a new run.
    """

    def __init__(self, folder: str | Path, *, resumed_step: int | None = None) -> None:
        super().__init__(save_dir=str(folder), name="", version="")
        self.resumed_step = resumed_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            kept = self._earlier_rows()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "previous log files will be deleted": not these
                writer: Any = super().experiment
            writer.metrics = kept
            writer.save()
        return self._experiment

    def _earlier_rows(self) -> list[dict[str, str]]:
        file = Path(self.log_dir) / "metrics.csv"
        if self.resumed_step is None or not file.is_file():
            return []
        whole_lines = file.read_text()[: file.read_text().rfind("\n") + 1]  # a killed run may have torn the last one
        rows = [row for row in csv.DictReader(whole_lines.splitlines()) if int(row["step"]) < self.resumed_step]
        return [{key: value for key, value in row.items() if value != ""} for row in rows]
