"""The log of a run: every row once, whatever happens to its file."""

import csv
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest

from rtseg.training.loggers import ResumableCSVLogger, RunTensorBoardLogger


def log(logger: ResumableCSVLogger | RunTensorBoardLogger, step: int, **values: Any) -> None:
    logger.log_metrics(values, step)
    logger.save()


def steps(folder: Path, key: str = "loss") -> list[int]:
    with (folder / "metrics.csv").open(newline="") as lines:
        return [int(row["step"]) for row in csv.DictReader(lines) if row[key]]


def test_a_row_that_is_logged_twice_stands_once(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(tmp_path)
    for step in (0, 0, 1):
        log(logger, step, loss=float("nan"))
    log(logger, 1, miou=0.5)
    assert steps(tmp_path) == [0, 1]
    assert steps(tmp_path, "miou") == [1]


def test_a_resumed_log_keeps_whole_rows_before_its_step(tmp_path: Path) -> None:
    text = "loss,step\n3.0,0\n2.0,1\n1.5,2\n1.2"  # killed while it wrote
    (tmp_path / "metrics.csv").write_text(text)
    logger = ResumableCSVLogger(tmp_path, resumed_step=2)
    log(logger, 2, loss=1.5)
    log(logger, 3, loss=1.25)
    assert steps(tmp_path) == [0, 1, 2, 3]
    assert not list(tmp_path.glob(".*"))


def test_rows_survive_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    logger = ResumableCSVLogger(folder)
    log(logger, 0, loss=3.0)
    shutil.rmtree(folder)
    log(logger, 1, loss=2.0)
    assert steps(folder) == [0, 1]
    shutil.rmtree(folder)
    folder.touch()
    with pytest.warns(UserWarning, match="is a file; .*the rows of metrics.csv are kept and tried again"):
        log(logger, 2, loss=1.0)
    log(logger, 3, loss=0.5)
    folder.unlink()
    log(logger, 4, loss=0.25)
    assert steps(folder) == [0, 1, 2, 3, 4]


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    logger = ResumableCSVLogger(tmp_path)
    log(logger, 0, loss=3.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "metrics.csv").stat().st_size + 3, hard))
    try:
        with pytest.warns(UserWarning, match="are kept and tried again"):
            log(logger, 1, loss=2.0)
        assert steps(tmp_path) == [0]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log(logger, 2, loss=1.0)
    assert steps(tmp_path) == [0, 1, 2]


def test_events_survive_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    logger = RunTensorBoardLogger(folder, name="", version="")
    for step in range(3):
        log(logger, step, loss=3.0)
        logger.experiment.flush()
        shutil.rmtree(folder)
    folder.touch()
    log(logger, 3, loss=1.0)
    logger.experiment.flush()
    folder.unlink()
    log(logger, 4, loss=0.5)
    logger.experiment.close()
    assert list(folder.glob("events.out.*"))
