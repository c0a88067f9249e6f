"""House rules of the library and of the tests, as CONTRIBUTING.md states them."""

import ast
import re
from functools import cache
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


@cache
def library() -> dict[Path, ast.Module]:
    """Each file, parsed; not when tests are collected, which every process does."""
    files = (file for folder in ("rtseg", "pretrain") for file in ROOT.joinpath(folder).rglob("*.py"))
    return {file: ast.parse(file.read_text()) for file in files}


def parameters(function: ast.FunctionDef) -> int:
    """How many a caller sees."""
    given = function.args
    names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg) if a]
    return len([name for name in names if name not in ("self", "cls")])


def is_interface(function: ast.FunctionDef, owner: ast.AST) -> bool:
    """Whether each parameter is an option of a command line, or an operand of a kernel.

    These are the commands of typer, the constructors of Lightning's modules, whose parameters are keys of a
    configuration, and Triton's kernels, which take strides one by one.
    """
    decorators = " ".join(map(ast.unparse, function.decorator_list))
    if re.search(r"\bapp\.command\(|\btriton\.jit\b", decorators):
        return True
    bases = " ".join(map(ast.unparse, owner.bases)) if isinstance(owner, ast.ClassDef) else ""
    lightning = re.compile(r"\b(LightningModule|LightningDataModule|NetworkModule|ResumableData)\b")
    return function.name == "__init__" and lightning.search(bases) is not None


def test_functions_are_short_and_take_few_parameters() -> None:
    found = {
        f"{file.relative_to(ROOT)}: {function.name}": (parameters(function), length)
        for file, tree in library().items()
        for owner in ast.walk(tree)
        for function in ast.iter_child_nodes(owner)
        if isinstance(function, ast.FunctionDef)
        and (length := (function.end_lineno or 0) - function.lineno + 1)
        and (length > 80 or (parameters(function) > 9 and not is_interface(function, owner)))
    }
    assert found == {}, "(parameters, lines): at most 9 and 80; group what belongs together"


def test_no_file_of_deploy_is_long() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in library()}
    long = {name: n for name, n in lines.items() if name.startswith("rtseg/deploy/") and n > 250}
    assert long == {}, "one file, one idea"


def test_no_library_file_asks_for_the_class_of_one_network() -> None:
    """Modules answer: a block by `rows()`, an attention by `absorb_scale`, a backbone by its attributes. A file may ask
    for the classes that it defines.
    """
    where = {
        node.name: file
        for file, tree in library().items()
        if re.search(r"^@?register_(backbone|head|attention)\(", file.read_text(), re.M) or file.parent.name == "layers"
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and not {"Protocol", "NamedTuple"} & {ast.unparse(base) for base in node.bases}
    }
    assert {"RTFormer", "RTFormerBlock", "DDRNet", "ConvHead", "GPUFriendlyAttention", "BasicBlock"} <= where.keys()
    named = re.compile(rf"(isinstance|issubclass)\(.*\b({'|'.join(where)})\b")
    asked = re.compile(r'isinstance\(.*(RTFormer|DDRNet|BasicBlock|ConvHead)|== "ca"|__name__ ==')
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in library()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if asked.search(line) or ((match := named.search(line)) and where[match[2]] != file)
    ]
    assert found == []


def test_no_library_file_compares_with_the_name_of_one_network() -> None:
    names = {*list_models(), *list_heads(), *list_attentions()}
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in library().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and part.value in names
    ]
    assert found == []
