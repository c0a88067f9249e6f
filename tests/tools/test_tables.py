"""`python -m tools.tables`: each table is written into its page, and what stands there is what the code makes."""

import re
import shutil
from pathlib import Path

import pytest

from rtseg.errors import UserError
from tools.tables import list_runs, refresh

ROOT = Path(__file__).parents[2]


def test_every_table_is_written_anew(tmp_path: Path) -> None:
    """What stands between two comments is taken out, and comes back as it is in the repository."""
    docs = Path(shutil.copytree(ROOT / "docs", tmp_path / "docs"))
    before = {page: page.read_text() for page in docs.rglob("*.md")}
    tables = re.compile(r"^(<!-- [^\n]*-->\n).*?^(<!-- [^\n]*-->)", re.M | re.S)
    emptied = {page: tables.sub(r"\1\2", text) for page, text in before.items()}
    changed = sorted(page.name for page in before if emptied[page] != before[page])
    assert {"attention.md", "benchmark.md", "pretraining.md", "results.md", "weights.md"} <= set(changed)
    assert len(changed) >= 6, "and a page for each measured speed"
    for page, text in emptied.items():
        page.write_text(text)
    refresh(docs, ROOT / "benchmarks" / "results")
    assert {page: page.read_text() for page in docs.rglob("*.md")} == before


def test_a_new_run_is_listed_and_a_page_without_a_finding_is_named(tmp_path: Path) -> None:
    page = tmp_path / "2026-11-29_new.md"
    page.write_text("# A new run, 2026-11-29\n\nAsked: what?\nFound: something, see [more](../more.md).\n")
    row = "| 2026-11-29 | [A new run](results/2026-11-29_new.md) | something, see [more](more.md). |"
    assert list_runs(tmp_path).splitlines()[2:] == [row]
    (tmp_path / "2026-11-30_empty.md").write_text("# Nothing\n")
    with pytest.raises(UserError, match=r"2026-11-30_empty.md: .*'Found: ...'"):
        list_runs(tmp_path)
