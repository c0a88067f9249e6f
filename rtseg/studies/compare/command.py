"""`rtseg compare`: attentions of one network side by side."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rtseg.speed.conditions import Conditions
from rtseg.studies.compare.carry_out import Plan, RunScores, carry_out
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import choose_rows
from rtseg.studies.compare.speed import check_built, measure_speed
from rtseg.studies.runs.recipe import Recipe
from rtseg.terminal import Console


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
    rows, plan = choose_rows(attentions, model), Plan(recipe, seeds, jobs)
    timed = conditions or Conditions()
    check_built(rows, model, num_classes)

    def measure(console: Console) -> Callable[[RunScores], Comparison]:
        speed = measure_speed(rows, output / "speed.json", model, num_classes, timed, console)
        return partial(Comparison, rows, speed, recipe, ratios=ratios)

    return carry_out(rows, output, plan, measure)
