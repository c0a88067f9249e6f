"""Writes the tables of docs/ anew that come from the code and from measurements: `python -m tools.tables --help`."""

from pathlib import Path
from typing import Annotated

import typer

from rtseg.command_line import create_app, run_app

app = create_app("python -m tools.tables", "Write a table of docs/ anew.")
Page = Annotated[Path, typer.Option(help="the page that has the table between two comments")]


@app.command()
def attentions(page: Page = Path("docs/attention.md")) -> None:
    """Every registered attention."""
    from rtseg.studies.listing import refresh

    refresh("attentions", page)


@app.command()
def engines(page: Page = Path("docs/benchmark.md")) -> None:
    """Every registered engine."""
    from rtseg.studies.listing import refresh

    refresh("backends", page)


@app.command()
def speed(
    results: Annotated[Path, typer.Argument(help="folder that `rtseg benchmark -o` wrote to")] = Path(
        "benchmarks/results"
    ),
    page: Page = Path("docs/results.md"),
) -> None:
    """What `rtseg benchmark` measured."""
    from rtseg.speed.results import refresh

    refresh(results, page)


@app.command()
def table2(
    results: Annotated[Path, typer.Argument(help=".json file that `python -m pretrain table2 -o` wrote")],
    page: Page = Path("docs/pretraining.md"),
) -> None:
    """RTFormer's Table 2."""
    from pretrain.table2 import refresh

    refresh(results, page)


if __name__ == "__main__":
    run_app(app)
