"""The tests' own house rules, as CONTRIBUTING.md states them."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
FILES = sorted(TESTS.rglob("*.py"))


def test_no_test_file_is_long() -> None:
    lines = {str(file.relative_to(TESTS)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: number for name, number in lines.items() if number > 400} == {}, "split it by what is tested"


def test_no_private_name_is_patched() -> None:
    private = re.compile(r"""setattr\([^)]*["'.]_[a-z]""")
    found = [f"{file.relative_to(TESTS)}: {match[0]}" for file in FILES for match in private.finditer(file.read_text())]
    assert found == [], "give the code a public seam, or a real input"


def test_no_library_file_asks_for_one_networks_class_or_name() -> None:
    """Modules answer: a block by `rows()`, an attention by `absorb_scale`, a backbone by its attributes."""
    asks = re.compile(r'isinstance\(.*(RTFormer|DDRNet|BasicBlock|ConvHead)|== "ca"|__name__ ==')
    files = [file for folder in ("rtseg", "pretrain") for file in sorted((TESTS.parent / folder).rglob("*.py"))]
    found = [
        f"{file.relative_to(TESTS.parent)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert found == []
