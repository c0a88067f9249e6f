"""`rtseg compare`: measures each row, trains it where data are given, and reports."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from rtseg.attention.insertion import list_places
from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_folder
from rtseg.output.table import Table, show
from rtseg.speed.conditions import Conditions
from rtseg.studies.compare.insertions import choose_insertions
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import Row, choose_rows
from rtseg.studies.compare.speed import measure_speed
from rtseg.studies.runs.recipe import Recipe, check_recipe
from rtseg.studies.runs.runner import check_start, explain, train
from rtseg.studies.runs.training import Training, trainings
from rtseg.terminal import Console, say

Found = Mapping[tuple[Row, int], Mapping[str, float]]  # (row, seed) -> scores by name


class Report(Protocol):
    """What a comparison found."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""

    def table(self) -> Table:
        """A line a row."""

    def conditions(self) -> list[str]:
        """Under which the figures hold."""

    def remarks(self) -> list[str]:
        """What has to be known to read the table."""

    def markdown(self) -> str:
        """All of it for a page."""

    def svg(self) -> str:
        """All of it drawn."""


R = TypeVar("R", bound=Report)


@dataclass(frozen=True)
class Plan:
    """What is trained of a comparison.

    Attributes:
        recipe: of the trainings; None trains nothing.
        seeds: trainings a row, with the seeds 0, 1, ...
        jobs: trainings at a time.

    Raises:
        UserError: a number below 1.
    """

    recipe: Recipe | None = None
    seeds: int = 1
    jobs: int = 1

    def __post_init__(self) -> None:
        check_at_least("--seeds", self.seeds, 1)
        check_at_least("--jobs", self.jobs, 1)


def compare(
    attentions: Sequence[str],
    output: Path,
    *,
    model: str = "rtformer_slim",
    num_classes: int = 150,
    conditions: Conditions | None = None,
    recipe: Recipe | None = None,
    seeds: int = 1,
    jobs: int = 1,
    ratios: bool = False,
) -> Comparison:
    """Compares attentions of a network. Prints a table; writes `compare.json`, `compare.md` and `compare.svg`.

    Where the standard output is no terminal, it gets `compare.json` in one line and nothing else.
    The table then goes to the standard error.

    Called again with the same folder it resumes: finished trainings and the measurement stay. Speed is measured first,
    on untrained networks, whose values do not change it.

    Args:
        attentions: rows, "low+high" each; RTFormer's Table 3 for none. gfa+ca is always among them.
        output: folder of the comparison.
        num_classes: of the networks that are timed.
        conditions: of the timing, with one size and one batch; the usual ones where they are not given.
        recipe, seeds, jobs: see `Plan`.
        ratios: show ratios of speed even if the machine was busy.

    Raises:
        UserError: a bad name or number, or a recipe that `rtseg fit` refuses; another recipe than the folder's, or
            another command in it; see `benchmark`. Or a training failed: only after the others, and the report.
    """
    rows = choose_rows(attentions, model)
    return _compare(rows, output, model, num_classes, conditions or Conditions(), Plan(recipe, seeds, jobs), ratios)


def compare_insertions(
    insertions: Sequence[str],
    output: Path,
    *,
    model: str,
    num_classes: int = 150,
    conditions: Conditions | None = None,
    plan: Plan = Plan(),
    ratios: bool = False,
) -> Comparison:
    """Compares what is inserted into one network, as `compare` does attentions; nothing inserted is always a row.

    Args:
        insertions: rows, see `choose_insertions`.

    Raises:
        UserError: see `choose_insertions` and `compare`.
    """
    with torch.device("meta"):
        network = create_model(model, num_classes)
    rows = choose_insertions(insertions, list(list_places(network)), network.card.attention)
    return _compare(rows, output, model, num_classes, conditions or Conditions(), plan, ratios)


def _compare(
    rows: Sequence[Row],
    output: Path,
    model: str,
    num_classes: int,
    conditions: Conditions,
    plan: Plan,
    ratios: bool,
) -> Comparison:
    with torch.device("meta"):  # a row with a bad option should cost no minutes, and leave no folder
        for row in rows:
            create_model(model, num_classes, attention=row.attention, insert=row.insert, **row.options)

    def measure(console: Console) -> Callable[[Found], Comparison]:
        speed = measure_speed(rows, output / "speed.json", model, num_classes, conditions, console)
        return partial(Comparison, rows, speed, plan.recipe, ratios=ratios)

    return carry_out(rows, output, plan, measure)


def carry_out(rows: Sequence[Row], output: Path, plan: Plan, measure: Callable[[Console], Callable[[Found], R]]) -> R:
    """Measures, trains and reports, in a folder that is resumed.

    Args:
        measure: what makes the report of the scores, once it has measured the rest.

    Raises:
        UserError: see `compare`.
    """
    console, recipe = Console(stderr=True), plan.recipe
    wanted = trainings(rows, range(plan.seeds), output) if recipe else []
    failed: dict[Training, str] = {}
    if recipe:
        check_start(wanted, recipe)
    with locked_folder(output) as lock:
        if recipe:
            check_recipe(recipe, output / "recipe.json")
        report_of = measure(console)
        if recipe:
            failed = train(wanted, recipe, lock=lock, jobs=plan.jobs, console=console)
        report = report_of(
            {(row, t.seed): t.score() for row in rows for t in wanted if t.variant == row and t.finished}
        )
        text = json.dumps(report.to_dict())
        write_whole(output / "compare.json", text + "\n")
        write_whole(output / "compare.md", report.markdown())
        write_whole(output / "compare.svg", report.svg())
    console.print(f"Written: {output}/compare.json, compare.md, compare.svg")
    piped = not sys.stdout.isatty()
    if piped:
        say(text)
    show(notes=report.conditions(), stderr=piped)
    say("", stderr=piped)
    show(report.table(), notes=report.remarks(), stderr=piped)
    if failed:
        raise UserError("\n".join([*explain(failed), "The same command tries these again and keeps the others"]))
    return report
