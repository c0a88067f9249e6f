"""Writes the tables of docs/ that come from code and measurements; `--check` says which are stale.

These are the attentions, the engines, the published weights, RTFormer's Table 2, the speed of each run below
benchmarks/results, and the list of all runs in docs/results.md.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import create_app, run_app
from rtseg.errors import UserError
from rtseg.output.folders import replace_between
from rtseg.terminal import say

ROOT = Path(__file__).parents[1]
_BEGIN = "<!-- all runs, made by `make docs`, do not edit -->"
_END = "<!-- end of all runs -->"

app = create_app("python -m tools.tables", "Write the tables of docs/ anew.")


def refresh(docs: Path, results: Path) -> None:
    """Writes each table into its page.

    Args:
        docs: the folder of the pages.
        results: the folder of the measurements.

    Raises:
        UserError: a page or its comments are missing; a measurement was written by another version.
    """
    from pretrain.table2 import refresh as refresh_table2
    from rtseg.speed.results import refresh as refresh_speed
    from rtseg.studies.listing import refresh as refresh_listing

    refresh_listing("attentions", docs / "attention.md")
    refresh_listing("backends", docs / "benchmark.md")
    refresh_listing("weights", docs / "weights.md")
    refresh_table2(results / "table2_cpu.json", docs / "pretraining.md")
    refresh_speed(results, docs / "results")
    replace_between(docs / "results.md", _BEGIN, _END, list_runs(docs / "results"))


def list_runs(pages: Path) -> str:
    """One row a page, the newest first: its date, its title, and the line that begins with `Found:`.

    Raises:
        UserError: a page does not begin with a title, or says nothing of what was found.
    """
    rows = ["| date | run | found |", "|---|---|---|"]
    for page in sorted(pages.glob("*.md"), key=lambda page: (page.name[:10], page.name), reverse=True):
        title, *lines = page.read_text().splitlines()
        found = next((line.removeprefix("Found: ") for line in lines if line.startswith("Found: ")), None)
        if not title.startswith("# ") or found is None:
            raise UserError(f"{page}: give it a title as its first line, and a line 'Found: ...' in one sentence")
        name = title.removeprefix("# ").rsplit(", ", 1)[0]
        rows.append(f"| {page.name[:10]} | [{name}](results/{page.name}) | {found.replace('](../', '](')} |")
    return "\n".join(rows)


@app.command()
def tables(
    check: Annotated[bool, typer.Option("--check", help="write nothing; fail where one is stale")] = False,
) -> None:
    """Write the tables of docs/ anew: attentions, engines, weights, Table 2, speed, all runs."""
    docs, results = ROOT / "docs", ROOT / "benchmarks" / "results"
    if not check:
        refresh(docs, results)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(shutil.copytree(docs, Path(folder, "docs")))
        refresh(copy, results)
        fresh = {file.relative_to(copy): file.read_bytes() for file in copy.rglob("*.md")}
    stale = sorted(str(name) for name, text in fresh.items() if not same(docs / name, text))
    if stale:
        raise UserError(f"tables are stale in docs/: {', '.join(stale)}; run `make docs` and commit what it writes")
    say("every table of docs/ is fresh")


def same(page: Path, text: bytes) -> bool:
    """Whether a page exists and has this text."""
    return page.is_file() and page.read_bytes() == text


if __name__ == "__main__":
    run_app(app)
