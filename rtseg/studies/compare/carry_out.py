"""One way for all comparisons: measure, train what is not trained yet, report; in a folder that is resumed."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_folder
from rtseg.output.table import Table, show
from rtseg.studies.compare.rows import Row
from rtseg.studies.runs.recipe import Recipe, check_recipe
from rtseg.studies.runs.runner import check_start, explain, train
from rtseg.studies.runs.training import Training, trainings
from rtseg.terminal import Console, say

RunScores = Mapping[tuple[Row, int], Mapping[str, float]]  # (row, seed) -> scores by name


class Report(Protocol):
    """What a comparison found."""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""

    def tables(self) -> list[Table]:
        """The rows, and what else there is."""

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


def carry_out(
    rows: Sequence[Row], output: Path, plan: Plan, measure: Callable[[Console], Callable[[RunScores], R]]
) -> R:
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
        if begun := [training for training in wanted if training.begun]:
            done = sum(training.finished for training in begun)
            console.print(f"resuming: {done} of {len(wanted)} trainings are finished")
        check_start(wanted, recipe)
    with locked_folder(output) as lock:
        if recipe:
            check_recipe(recipe, output / "recipe.json")
        report_of = measure(console)
        if recipe:
            failed = train(wanted, recipe, lock=lock, jobs=plan.jobs, console=console)
        names = recipe.task.scores if recipe else ()
        report = report_of(
            {(row, t.seed): t.score(names) for row in rows for t in wanted if t.variant == row and t.finished}
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
    show(*report.tables(), notes=report.remarks(), stderr=piped)
    if failed:
        raise UserError("\n".join([*explain(failed), "The same command tries these again and keeps the others"]))
    return report
