"""The frame of `make torture`: what a group yields is printed, counted and written down. The groups take minutes."""

import ast
import json
from pathlib import Path

import pytest

from tools.torture.__main__ import HERE, run, table
from tools.torture.outcome import description, find_groups, one_line

FAKE = '''"""A fake group."""
from tools.torture.outcome import Outcome

def outcomes(folder, quick):
    assert folder.is_dir() and not any(folder.iterdir())
    yield Outcome("first", True, "fine", 0.25)
    yield Outcome("second", False, "bell \\a", 0.5)
    if not quick:
        raise OSError("the group broke")
'''


def test_outcomes_are_counted_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, output = tmp_path / "fake.py", tmp_path / "found.json"
    file.write_text(FAKE)
    assert find_groups(tmp_path) == {"fake": file}
    quick = run({"fake": file}, quick=True, output=None)
    assert [(outcome.case, outcome.good) for outcome in quick["fake"]] == [("first", True), ("second", False)]
    found = run({"fake": file, "again": file}, quick=False, output=output)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 2 + 3 + 3
    assert "BAD" in printed[1]
    assert "\\x07" in printed[1]
    written = json.loads(output.read_text())
    assert {"date", "commit", "processor", "torch", "quick"} <= written.keys()
    assert [case["good"] for case in written["groups"]["again"]] == [True, False, False]
    assert written["groups"]["fake"][2]["said"] == "OSError: the group broke"
    assert table(found).rows[0][:3] == ["fake", 3, 1]
    assert one_line("a\nb\x1b\udcff") == "a\\nb\\x1b\\udcff"


def test_every_group_is_described_and_listed() -> None:
    page = Path(__file__).parents[2].joinpath("CONTRIBUTING.md").read_text()
    groups = find_groups(HERE)
    assert [name for name in groups if f"`{name}`" not in page] == []
    assert [name for name, file in groups.items() if not description(file)] == []


def test_groups_need_nothing_beside_the_checkout() -> None:
    names = {
        node.value
        for file in HERE.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [name for name in names if "../shared" in name or "RTSEG_SHARED" in name] == []
