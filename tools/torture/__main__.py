"""Injects faults into rtseg and says what came of them: `python -m tools.torture --help`, `make torture`."""

import dataclasses
import json
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Annotated

import torch
import typer

from rtseg.command_line import create_app, run_app
from rtseg.deploy.device import describe_device
from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.table import Cell, Column, Table, show
from rtseg.registry import suggest
from rtseg.speed.machine import git_commit
from tools.torture.outcome import Outcome, description, find_groups, one_line, run_group

HERE = Path(__file__).parent
COLUMNS = (
    Column("group", left=True),
    Column("cases"),
    Column("good"),
    Column("time", "s", "{:.0f}"),
    Column("worst", left=True, prose=True),
)
app = create_app("python -m tools.torture", "Inject faults into rtseg.")


def groups_help() -> str:
    """The groups and what each does."""
    return "; ".join(f"{name}: {description(file)}" for name, file in find_groups(HERE).items())


@app.command()
def torture(
    groups: Annotated[list[str] | None, typer.Argument(metavar="[GROUP]...", help=groups_help())] = None,
    quick: Annotated[bool, typer.Option("--quick", help="some cases of each group: ten minutes, not an hour")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help=".json file of all outcomes")] = None,
) -> None:
    """Inject faults into rtseg, group by group, and say what came of each; exit status 1 where a case is bad."""
    known = find_groups(HERE)
    for name in groups or []:
        if name not in known:
            raise UserError(f"no group is called '{name}'.{suggest(name, known)}")
    if output is not None and output.suffix != ".json":
        raise UserError(f"-o {output} must end in .json")
    found = run({name: known[name] for name in groups or known}, quick=quick, output=output)
    show(table(found))
    sys.exit(int(any(not outcome.good for outcomes in found.values() for outcome in outcomes)))


def run(groups: dict[str, Path], *, quick: bool, output: Path | None) -> dict[str, list[Outcome]]:
    """The outcomes of each group, printed as they come; the file is written after each group."""
    found: dict[str, list[Outcome]] = {}
    for name, file in groups.items():
        found[name] = []
        with tempfile.TemporaryDirectory(prefix="torture-", ignore_cleanup_errors=True) as folder:
            for outcome in run_group(file, Path(folder), quick=quick):
                found[name].append(outcome)
                word = "good" if outcome.good else "BAD"
                line = one_line(f"{outcome.case}: {outcome.said}")
                print(f"{name:<10}{len(found[name]):>4} {word:<5}{outcome.seconds:>6.1f} s  {line[:300]}", flush=True)
        if output is not None:
            write_whole(output, json.dumps(to_dict(found, quick=quick), indent=1) + "\n")
    return found


def to_dict(found: dict[str, list[Outcome]], *, quick: bool) -> dict:
    """Conditions and outcomes in plain JSON types."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": git_commit(),
        "processor": describe_device(torch.device("cpu"))["name"],
        "torch": torch.__version__,
        "quick": quick,
        "groups": {
            name: [dataclasses.asdict(outcome) | {"said": one_line(outcome.said)} for outcome in outcomes]
            for name, outcomes in found.items()
        },
    }


def table(found: dict[str, list[Outcome]]) -> Table:
    """A row for each group."""
    rows: list[list[Cell]] = []
    for name, outcomes in found.items():
        bad = [outcome for outcome in outcomes if not outcome.good]
        slowest = max(outcomes, key=lambda outcome: outcome.seconds, default=None)
        worst = bad[0] if bad else slowest
        said = one_line(f"{worst.case}: {worst.said}")[:160] if worst else None
        seconds = sum(outcome.seconds for outcome in outcomes)
        rows.append([name, len(outcomes), len(outcomes) - len(bad), seconds, said])
    return Table("Injected faults and what came of them", COLUMNS, rows)


if __name__ == "__main__":
    run_app(app)
