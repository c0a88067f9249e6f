"""The drawing of several trainings."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from pretrain.curves import draw
from rtseg.errors import UserError

SVG = "{http://www.w3.org/2000/svg}"


def log(folder: Path, top1: float) -> Path:
    folder.mkdir()
    rows = [f"{step},{2 - step / 10}," for step in range(5)] + [f"4,,{top1}"]
    (folder / "metrics.csv").write_text("\n".join(["step,train/loss,val/top1", *rows]) + "\n")
    return folder


def test_each_run_is_a_line_in_both_panels(tmp_path: Path) -> None:
    draw([log(tmp_path / "seed 0", 0.6), log(tmp_path / "a<b", 0.5)], tmp_path / "out" / "curves.svg")
    page = ElementTree.parse(tmp_path / "out" / "curves.svg")  # well-formed, whatever folders are called
    lines = [line.get("class") for line in page.iter(f"{SVG}polyline")]
    assert lines == ["line c0 d0", "line c1 d1"] * 2
    assert [text.text for text in page.iter(f"{SVG}text") if text.text in ("seed 0", "a<b")] == ["seed 0", "a<b"] * 2


def test_bad_input(tmp_path: Path) -> None:
    run = log(tmp_path / "run", 0.5)
    for runs, file, says in (
        ([run], "curves.png", "must end in .svg"),
        ([], "c.svg", "0 runs"),
        ([run] * 7, "c.svg", "7 runs"),
        ([run, run], "c.svg", "same folder name"),
        ([tmp_path], "c.svg", "does not contain a metrics.csv"),
    ):
        with pytest.raises(UserError, match=says):
            draw(runs, tmp_path / file)
