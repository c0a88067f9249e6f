"""docs/attention.md: its table is the registry's, and its three steps, followed to the letter, give an attention."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rtseg.attention import list_attentions
from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.studies.listing import refresh
from rtseg.studies.listing.attentions import attention_rows, markdown

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/attention.md"
BEGIN, END = "<!-- attention table: begin -->", "<!-- attention table: end -->"
REPAIR = "run: make docs"


def test_the_pages_table_is_that_of_the_registry() -> None:
    text = PAGE.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip() == markdown(), REPAIR


def test_rows_say_what_the_registry_says() -> None:
    rows = {row[0].strip("`"): row for row in attention_rows()}
    assert list(rows) == list_attentions()
    assert all("https://arxiv.org/abs/" in row[1] for row in rows.values())
    assert rows["ca"][2:] == (
        "high",
        "`cross_size`: int, 8; `scale`: str, tokens",
        "33,280",
        "35.7 M",
        "linear",
        "yes",
        "yes",
    )
    assert rows["sa"][2:] == (
        "low, high", "`heads`: int, 8 / 2; `reduction`: int, 1 / 4", "263,168 / 82,368", "100.7 M / 186.6 M",
        "quadratic", "no", "yes",
    )  # fmt: skip
    quadratic = {name for name, row in rows.items() if row[6] == "quadratic"}
    assert quadratic == {"nl", "sa"}
    assert {row[6] for row in rows.values()} == {"linear", "quadratic"}


def test_the_page_is_written_anew_between_its_comments(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    refresh("attentions", page)
    assert page.read_text() == f"before\n{BEGIN}\n\n{markdown()}\n\n{END}\nafter\n"
    refresh("attentions", page)
    assert page.read_text().count("| `gfa` |") == 1
    page.write_text("no comments")
    with pytest.raises(UserError, match=r"page\.md' must hold one line '<!-- attention table: begin -->'"):
        refresh("attentions", page)
    with pytest.raises(UserError, match=r"none\.md' cannot be read: No such file"):
        refresh("attentions", tmp_path / "none.md")


def test_the_command_prints_names_and_on_demand_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*args: str) -> str:
        with pytest.raises(SystemExit) as end:
            main(["list", *args])
        assert end.value.code in (0, None)
        return capsys.readouterr().out

    assert printed("attentions").split() == list_attentions()
    table = printed("attentions", "--details")
    assert set(re.findall(r"https://\S+\d", markdown())) == set(re.findall(r"https://\S+\d", table))  # none is broken
    for words in ("GPU-friendly", "263,168 / 82,368", "quadratic"):
        assert words in table
    with pytest.raises(SystemExit):
        main(["list", "models", "--details"])
    assert "there are no details of models" in capsys.readouterr().err


# --- the two steps, in a copy of the library


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which they were followed."""
    copy, page = tmp_path_factory.mktemp("checkout"), PAGE.read_text()
    shutil.copytree(ROOT / "rtseg", copy / "rtseg", ignore=shutil.ignore_patterns("__pycache__"))
    steps = page[page.index("## Add one in two steps") :]
    file, code = (
        match[1]
        for pattern in (r"one file: `(rtseg/attention/\w+\.py)`", r"```python\n(.*?)```")
        if (match := re.search(pattern, steps, re.S))
    )
    (copy / file).write_text(code)
    return copy


def run(checkout: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "COLUMNS": "150"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


PROGRAM = """
import torch, rtseg
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from rtseg.attention import create_attention, list_attentions
from rtseg.cli import main
from rtseg.studies.listing.attentions import markdown

assert rtseg.__file__.startswith(CHECKOUT), rtseg.__file__
assert "gc" in list_attentions() and "| `gc` | GC, global context" in markdown()
torch.manual_seed(0)
network = rtseg.create_model("rtformer_slim", 5, attention="gc", base_channels=16, spp_channels=16, head_channels=16)
network.train()
logits, aux = network.forward_train(torch.randn(2, 3, 64, 96)).values()
(logits.square().mean() + aux.square().mean()).backward()
found = {n: p for n, p in network.named_parameters() if "_attention." in n}
assert len(found) == 2 * 2 * 2, found.keys()
assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in found.values())
for branch, channels, out, stride in (("low", 16, 32, 2), ("low", 32, 32, 1), ("high", 16, 16, 1)):
    attention = create_attention("gc:heads=4", channels, out, stride=stride, branch=branch)
    nn.init.normal_(attention.query)
    x = torch.randn(1, channels, 9, 7)
    with FlopCounterMode(display=False) as counter:
        y = attention(x)
    cost = attention.cost(9, 7)
    assert cost.parameters == sum(p.numel() for p in attention.parameters())
    assert 2 * cost.macs == counter.get_total_flops()
    weights = attention.attention_map(x).weights
    tokens = x[:, :, ::stride, ::stride].flatten(2).unflatten(1, (4, -1))
    gathered = torch.einsum("bhnm,bhcm->bnhc", weights, tokens).flatten(2)
    torch.testing.assert_close(attention.project(gathered).mT.view_as(y), y)
main(["list", "attentions"])
"""


def test_a_complete_mechanism_takes_at_most_35_lines() -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text()[PAGE.read_text().index("## Add one") :], re.S)
    assert code is not None
    tree = ast.parse(code[1])
    for part in ast.walk(tree):
        if isinstance(part, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(part) is not None:
            del part.body[0]
    written = {line for part in ast.walk(tree) for line in (getattr(part, "lineno", 0), getattr(part, "end_lineno", 0))}
    names = {part.name for part in ast.walk(tree) if isinstance(part, ast.FunctionDef)}
    assert names == {"__init__", "forward", "cost", "attention_map"}
    assert len(written - {0}) <= 35


@pytest.mark.slow
def test_the_two_steps_give_an_attention_that_trains(extended: Path) -> None:
    assert "gc" in run(extended, "-c", f"CHECKOUT = {str(extended)!r}\n{PROGRAM}").split()


@pytest.mark.slow
def test_the_tests_over_the_registry_take_it_up(extended: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", extended)
    shutil.copytree(ROOT / "tests", extended / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    printed = run(extended, "-m", "pytest", "-p", "no:cacheprovider", "-vv", "-m", "", "-k", "gc", "tests/attention")
    names = set(re.findall(r"::(\w+)\[.*\bgc\b.*PASSED", printed))
    assert {"test_any_size_keeps_its_size", "test_the_cost_is_what_a_profiler_counts"} <= names
    assert {"test_gradients_are_those_of_finite_differences", "test_memory_layout_does_not_matter"} <= names
