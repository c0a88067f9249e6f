"""The tests' own house rules, as CONTRIBUTING.md states them."""

import ast
import re
from pathlib import Path

from rtseg.attention import list_attentions
from rtseg.models import list_heads, list_models

TESTS = Path(__file__).parent
ROOT = TESTS.parent
FILES = sorted(TESTS.rglob("*.py"))


def test_no_test_file_is_long() -> None:
    lines = {str(file.relative_to(TESTS)): len(file.read_text().splitlines()) for file in FILES}
    assert {name: number for name, number in lines.items() if number > 400} == {}, "split it by what is tested"


def test_no_private_name_is_patched() -> None:
    private = re.compile(r"""setattr\([^)]*["'.]_[a-z]""")
    found = [f"{file.relative_to(TESTS)}: {match[0]}" for file in FILES for match in private.finditer(file.read_text())]
    assert found == [], "give the code a public seam, or a real input"


LIBRARY = {
    file: ast.parse(file.read_text())
    for folder in ("rtseg", "pretrain")
    for file in ROOT.joinpath(folder).rglob("*.py")
}


def test_no_library_file_asks_for_the_class_of_one_network() -> None:
    """Modules answer: a block by `rows()`, an attention by `absorb_scale`, a backbone by its attributes."""
    parts = {
        node.name
        for file, tree in LIBRARY.items()
        if re.search(r"^@?register_(backbone|head|attention)\(", file.read_text(), re.M) or file.parent.name == "layers"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and not {"Protocol", "NamedTuple"} & {ast.unparse(base) for base in node.bases}
    }
    assert {"RTFormer", "RTFormerBlock", "DDRNet", "ConvHead", "GPUFriendlyAttention", "BasicBlock"} <= parts
    named = re.compile(rf"(isinstance|issubclass)\(.*\b({'|'.join(parts)})\b")
    asked = re.compile(r'isinstance\(.*(RTFormer|DDRNet|BasicBlock|ConvHead)|== "ca"|__name__ ==')
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in LIBRARY
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if asked.search(line) or named.search(line)
    ]
    assert found == []


def test_no_library_file_compares_with_the_name_of_one_network() -> None:
    names = {*list_models(), *list_heads(), *list_attentions()}
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in LIBRARY.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and part.value in names
    ]
    assert found == []
