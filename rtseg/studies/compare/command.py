"""`rtseg compare`: measures each row, trains it where data are given, and reports."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.output.folders import write_whole
from rtseg.output.lock import locked_folder
from rtseg.output.table import show
from rtseg.speed.conditions import Conditions
from rtseg.studies.compare.plot import plot
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import choose_rows
from rtseg.studies.compare.speed import measure_speed
from rtseg.studies.runs.recipe import Recipe, check_recipe
from rtseg.studies.runs.runner import check_start, explain, train
from rtseg.studies.runs.training import Training, trainings
from rtseg.terminal import Console, say


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
    """Prints a table; writes `compare.json`, `compare.md` and `compare.svg`.

    Where the standard output is no terminal, it gets `compare.json` in one line and nothing else.
    The table then goes to the standard error.

    Called again with the same folder it resumes: finished trainings and the measurement stay. Speed is measured first,
    on untrained networks, whose values do not change it.

    Args:
        attentions: rows, "low+high" each; RTFormer's Table 3 for none. gfa+ca is always among them.
        output: folder of the comparison.
        num_classes: of the networks that are timed.
        conditions: of the timing, with one size and one batch; the usual ones where they are not given.
        recipe: of the trainings; None trains nothing.
        seeds: trainings a row, with the seeds 0, 1, ...
        jobs: trainings at a time.
        ratios: show ratios of speed even if the machine was busy.

    Raises:
        UserError: a bad name or number, or a recipe that `rtseg fit` refuses; another recipe than the folder's, or
            another command in it; see `benchmark`. Or a training failed: only after the others, and the report.
    """
    console = Console(stderr=True)
    rows = choose_rows(attentions, model)
    conditions = conditions or Conditions()
    check_at_least("--seeds", seeds, 1)
    check_at_least("--jobs", jobs, 1)
    with torch.device("meta"):  # a row with a bad option should cost no minutes, and leave no folder
        for row in rows:
            create_model(model, num_classes, attention=row.attention, **row.options)
    wanted = trainings(rows, range(seeds), output) if recipe else []
    failed: dict[Training, str] = {}
    if recipe:
        check_start(wanted, recipe)
    with locked_folder(output) as lock:
        if recipe:
            check_recipe(recipe, output / "recipe.json")
        speed = measure_speed(rows, output / "speed.json", model, num_classes, conditions, console)
        if recipe:
            failed = train(wanted, recipe, lock=lock, jobs=jobs, console=console)
        scores = {(row, t.seed): t.score() for row in rows for t in wanted if t.variant == row and t.finished}
        comparison = Comparison(rows, speed, recipe, scores, ratios)
        result = comparison.to_dict()
        text = json.dumps(result)
        write_whole(output / "compare.json", text + "\n")
        write_whole(output / "compare.md", comparison.markdown())
        write_whole(output / "compare.svg", plot(comparison.drawn()))
    console.print(f"Written: {output}/compare.json, compare.md, compare.svg")
    piped = not sys.stdout.isatty()
    if piped:
        say(text)
    show(notes=comparison.conditions(), stderr=piped)
    say("", stderr=piped)
    show(comparison.table(), notes=comparison.remarks(), stderr=piped)
    if failed:
        raise UserError("\n".join([*explain(failed), "The same command tries these again and keeps the others"]))
    return comparison
