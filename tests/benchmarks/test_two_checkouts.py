"""The script that times two checkouts in turns, here the same one twice."""

import json
from pathlib import Path

import pytest

from benchmarks.two_checkouts import main

ROOT = Path(__file__).parents[2]


def test_it_wants_two_checkouts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: give two checkouts"):
        main([str(ROOT), str(tmp_path)])


def test_an_unknown_engine_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="unknown engine 'nosuch'"):
        main([str(ROOT), str(ROOT), "--cases", "nosuch", "--size", "32", "32"])


@pytest.mark.slow
def test_a_checkout_beside_itself(tmp_path: Path) -> None:
    file = tmp_path / "two.json"
    short = ["--rounds=2", "--seconds=0.1", "--size", "32", "32", "--cases", "eager", "training"]
    main([str(ROOT), str(ROOT), *short, f"--output={file}"])
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"] for row in rows] == ["eager", "training"]
    assert all(row["same_result"] and row["before_ms"] > 0 for row in rows)
