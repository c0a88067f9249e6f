"""Comparisons of what is inserted: `rtseg compare --insert`, `rtseg instances compare` and `rtseg stereo compare`."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rtseg.attention.insertion import resolve
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.models.backbone import NO_ATTENTION, choose_attention
from rtseg.speed.conditions import Conditions
from rtseg.studies.compare.carry_out import Plan, RunScores, carry_out
from rtseg.studies.compare.costs import Placed, measure_costs
from rtseg.studies.compare.insertion_report import Counted, InsertionReport
from rtseg.studies.compare.insertions import Insertions, choose_insertions, places_of
from rtseg.studies.compare.paper import FA, NL
from rtseg.studies.compare.report import Comparison
from rtseg.studies.compare.rows import Row
from rtseg.studies.compare.speed import check_built, measure_speed
from rtseg.studies.runs.task import SEGMENTATION, Task
from rtseg.terminal import Console

LIMIT = 16 * 10**9  # bytes: the memory of a usual GPU


def compare_insertions(
    texts: Sequence[str],
    output: Path,
    *,
    model: str = SEGMENTATION.model,
    num_classes: int = 150,
    conditions: Conditions | None = None,
    limit: int = LIMIT,
    plan: Plan = Plan(),  # noqa: B008  (frozen)
    ratios: bool = False,
) -> Comparison:
    """Compares what is inserted into one segmenter, as `compare` does attentions; nothing inserted is always a row.

    Args:
        texts: rows, see `choose_insertions`. With the first paper's Table 1 its places are measured, too.
        limit: bytes that an attention may take at a place; the largest image that keeps it is computed.

    Raises:
        UserError: see `choose_insertions` and `compare`.
    """
    timed = conditions or Conditions()
    with torch.device("meta"):
        places = places_of(SEGMENTATION.create(model, None, {}))
    chosen = choose_insertions(texts, places, SEGMENTATION, model, choose_attention(model, None))
    positions = _positions(chosen, places)
    check_built(chosen.rows, model, num_classes)

    def measure(console: Console) -> Callable[[RunScores], Comparison]:
        speed = measure_speed(chosen.rows, output / "speed.json", model, num_classes, timed, console)
        file, size = output / "places.json", timed.sizes[0]
        costs = measure_costs(positions, file, size, limit, timed, console) if positions else None
        return partial(
            Comparison, chosen.rows, speed, plan.recipe,
            ratios=ratios, insertions=chosen, costs=costs, positions=positions,
        )  # fmt: skip

    return carry_out(chosen.rows, output, plan, measure)


def compare_counted(
    texts: Sequence[str],
    output: Path,
    task: Task,
    *,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    conditions: Conditions | None = None,
    limit: int = LIMIT,
    plan: Plan = Plan(),  # noqa: B008  (frozen)
) -> InsertionReport:
    """Compares what is inserted into a network that no engine runs: by what the insertion adds, and where trained by
    its scores.

    Args:
        texts, limit: see `compare_insertions`.
        model, options: the network; the task's, with its own options, where they are not given.
        conditions: of the measurement of places, with one size.

    Raises:
        UserError: see `choose_insertions` and `compare`.
    """
    plain = model or task.model
    timed = conditions or Conditions(sizes=[task.size])

    def built(name: str, insert: Mapping[str, Any] | None) -> nn.Module:
        with torch.device("meta"):
            return task.create(name, insert, options or {})

    places = places_of(built(plain, None))
    chosen = choose_insertions(texts, places, task, plain, NO_ATTENTION)
    positions = _positions(chosen, places)
    counted: dict[Row, Counted] = {}
    for row in chosen.rows:
        try:
            network = built(row.model or plain, row.insert)
        except UserError as error:
            if row.model is None:
                raise
            raise UserError(
                f"{row.model}, a row of the paper's table, has other places than {plain}: leave --model out ({error})"
            ) from None
        own = places_of(network)
        called = f"{row.model} " if row.model else ""
        placed = [
            Placed(f"{called}{place}", own[place], text)
            for place, attentions in resolve(row.insert or {}, list(own)).items()
            for text in attentions
        ]
        counted[row] = Counted(sum(p.numel() for p in network.parameters()), tuple(placed))

    def measure(console: Console) -> Callable[[RunScores], InsertionReport]:
        asked = [*(placed for row in counted.values() for placed in row.inserted), *positions]
        costs = measure_costs(asked, output / "places.json", timed.sizes[0], limit, timed, console)
        return partial(InsertionReport, task, plain, chosen, counted, costs, positions, plan.recipe)

    return carry_out(chosen.rows, output, plan, measure)


def _positions(chosen: Insertions, places: Mapping[str, FeatureInfo]) -> list[Placed]:
    """Both attentions at each place of the first paper's Table 1, where that is asked for."""
    return [
        Placed(f"{place} ({name})", places[place], attention)
        for place, name in chosen.positions.items()
        for attention in (FA, NL)
    ]
