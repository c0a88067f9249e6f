"""The script that compares layouts: every way is held to the library's numbers before it is timed."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.attention_layouts import LIBRARY, OTHER_WAYS, Place, Question, check_equal, command, main, questions


@torch.no_grad()
def test_every_way_gives_the_librarys_result_and_a_wrong_one_is_caught() -> None:
    places = [Place("high", 16, 12, 8, 16), Place("low", 16, 12, 8, 32, stride=2)]
    asked = list(questions(places, torch.device("cpu")))
    assert len(asked) == 2 * 2 * (len(OTHER_WAYS) + 1) + 4 + 3
    for question in asked:
        check_equal(question)

        def wrong(right: Callable[[], list[Tensor]]) -> list[Tensor]:
            return [*right()[:-1], 1.02 * right()[-1]]

        ways: dict[str, Callable[[], list[Tensor]]] = {**question.ways, "wrong": partial(wrong, question.ways[LIBRARY])}
        with pytest.raises(ValueError, match=r"'wrong' is off by 2\.0e-02"):
            check_equal(Question(question.what, question.place, "any", ways, question.tolerance))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threads", "0"], "error: --threads 0 must be at least 1"),
        (["--seconds", "-1"], "error: --seconds -1 must be a number above 0"),
        (["--seconds", "nan"], "error: --seconds nan must be a number above 0"),
        (["--device", "tpu"], "error: unknown device 'tpu': choose cpu"),
        (["-o", "FILE/layouts.json"], "is a file; give another folder"),
        (["-o", "FOLDER"], "is a folder; give a file in it"),
    ],
)
def test_bad_input_ends_in_one_line(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    filled = [a.replace("FILE", str(tmp_path / "file")).replace("FOLDER", str(tmp_path)) for a in arguments]
    with pytest.raises(SystemExit) as end:
        command(filled)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line


def test_the_table_and_the_json_hold_every_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "layouts.json"
    result = main(seconds=0.001, output=file, places=[Place("high", 16, 8, 8, 16)])
    printed = capsys.readouterr().out
    assert json.loads(printed.splitlines()[-1]) == json.loads(file.read_text()) == result
    assert {row["what"].split(",")[0] for row in result["rows"]} == {
        "gfa",
        "gfa's norm",
        "ea",
        "fa",
        "sa",
        "ca",
        "na",
        "la",
    }
    assert all(row["ratio"] == 1 for row in result["rows"] if row["way"] == LIBRARY)
    assert all(row["p5_ms"] > 0 for row in result["rows"])
    assert "slots last, convolutions" in printed
    assert result["device"]["cores"] >= 1
