"""A log that training did not write: a sentence with the line."""

from pathlib import Path

import pytest

from rtseg.errors import UserError
from rtseg.studies.runs.metrics_log import read_log

LONG = b"step,a\n1," + b"x" * 200_000 + b"\n"


@pytest.mark.parametrize("rows", ["step inf", "step nan", "step -1", "step 1e400", "step,a 1,x", "step 1,2", LONG])
def test_is_refused(tmp_path: Path, rows: str | bytes) -> None:
    content = rows if isinstance(rows, bytes) else rows.replace(" ", "\n").encode() + b"\n"
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.csv', line \d is not a row of numbers with a step"):
        read_log(tmp_path / "metrics.csv")


def test_values_that_are_not_finite_are_a_logs_own(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"step,\xff\n3,nan\n4,\n")
    assert [row["step"] for row in read_log(tmp_path / "metrics.csv").rows] == [3, 4]
