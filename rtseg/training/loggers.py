"""The logs of a run: `metrics.csv`, which a resumed training continues, and TensorBoard's events."""

import csv
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from rtseg.errors import UserError, first_line
from rtseg.output.folders import make_folder, write_whole

Row = Mapping[str, Any]


class ResumableCSVLogger(CSVLogger):
    """`metrics.csv` in `folder`. Lightning's logger deletes an earlier file; this one keeps the rows up to the resumed
    step.

    Args:
        resumed_step: the global step that the training resumes from, None for a new run.
    """

    def __init__(self, folder: str | Path, *, resumed_step: int | None = None) -> None:
        super().__init__(save_dir=str(folder), name="", version="")
        self.resumed_step = resumed_step

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = _MetricsFile(Path(self.log_dir), self.resumed_step)
        return self._experiment


class _MetricsFile(ExperimentWriter):
    """The rows of `metrics.csv`. Whenever the process is killed, the file holds every row that was saved, once.

    Rows that cannot be written, on a full disk or without the folder, are kept and tried again with the next ones.
    """

    def __init__(self, folder: Path, resumed_step: int | None) -> None:
        self.file = folder / self.NAME_METRICS_FILE
        self.hparams: dict[str, Any] = {}
        self.log_dir = str(folder)
        self.metrics: list[dict[str, Any]] = []
        self.metrics_keys: list[str] = []
        self._last = ""
        self._written: Any = None  # the file, open for reading: its rows outlive its name
        self._told = False
        folder.mkdir(parents=True, exist_ok=True)
        if resumed_step is None:
            self.file.unlink(missing_ok=True)
        elif self.file.is_file():
            self._rewrite(_rows_before(resumed_step, self.file.read_text()))

    def log_metrics(self, metrics_dict: dict[str, Any], step: int | None = None) -> None:
        """Takes a row, unless it is the one before again; see `save_between_steps`."""
        super().log_metrics(metrics_dict, step)
        if (row := repr(self.metrics[-1])) == self._last:
            self.metrics.pop()
        self._last = row

    def log_hparams(self, params: dict[str, Any]) -> None:
        with suppress(OSError):
            super().log_hparams(params)

    def save(self) -> None:
        """Appends the rows since the last time; the file is made anew where there is a new column."""
        if not self.metrics:
            return
        try:
            if set().union(*self.metrics) <= set(self.metrics_keys) and self.file.is_file():
                self._append()
            else:
                self._rewrite([*self._rows(), *self.metrics])
            self.metrics, self._told = [], False
        except (OSError, UserError) as error:
            if not self._told:
                rank_zero_warn(f"{first_line(error)} (the rows of {self.file.name} are kept and tried again)")
            self._told = True

    def _append(self) -> None:
        size = self.file.stat().st_size
        try:
            with self.file.open("ab") as file:
                file.write(_text(self.metrics_keys, self.metrics).encode())
        except OSError:
            os.truncate(self.file, size)  # part of a row may have found its place
            raise

    def _rows(self) -> Iterable[Row]:
        if self._written is None:
            return []
        self._written.seek(0)
        return csv.DictReader(self._written)

    def _rewrite(self, rows: Iterable[Row]) -> None:
        rows = [{key: value for key, value in row.items() if value != ""} for row in rows]
        keys = sorted(set(self.metrics_keys).union(*rows))
        make_folder(self.file.parent)
        write_whole(self.file, _text(keys, rows, header=True))
        if self._written is not None:
            self._written.close()
        self._written = self.file.open(newline="")
        self.metrics_keys = keys


def _text(keys: list[str], rows: Iterable[Row], *, header: bool = False) -> str:
    lines = io.StringIO(newline="")
    writer = csv.DictWriter(lines, keys)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return lines.getvalue()


def _rows_before(step: int, text: str) -> Iterable[Row]:
    """Rows of a file that a killed training may have left with half a line."""
    lines = text[: text.rfind("\n") + 1].splitlines()
    return [row for row in csv.DictReader(lines) if (row.get("step") or "").isdigit() and int(row["step"]) < step]


class RunTensorBoardLogger(TensorBoardLogger):
    """TensorBoard's events. The thread that writes them would end, with a traceback, where their folder vanished."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        begun = self._experiment is not None
        if not begun:  # a full disk is an error here, and not in the thread, whose traceback nobody could stop
            make_folder(Path(self.log_dir))
            write_whole(probe := Path(self.log_dir, ".room"), "room for a log?")
            probe.unlink()
        writer: Any = super().experiment
        if not begun and hasattr(file := writer.file_writer.event_writer._general_file_writer, "fs"):
            file.fs = _Patient()
        return writer


class _Patient:
    """Stands in for TensorBoard's own file system: makes the folder anew, and leaves out what cannot be written."""

    def append(self, filename: bytes, content: bytes, binary_mode: bool) -> None:
        with suppress(OSError):
            os.makedirs(os.path.dirname(filename), exist_ok=True)
            with open(filename, "ab") as file:
                file.write(content)

    write = append
