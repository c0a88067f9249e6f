"""Does pre-training help? Segmenters trained from a pre-trained backbone and from scratch, with equal data, recipe,
number of epochs and seeds, side by side.

The trainings are those of `rtseg compare`: each is an `rtseg fit` in a process of its own, resumed where an earlier run
of the command stopped, and scored at its last epoch.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.models.weights import read_weights
from rtseg.output.folders import make_folder, write_whole
from rtseg.output.lock import locked_folder
from rtseg.output.table import Column, Table, show
from rtseg.studies.runs.paired import differences, standard_error
from rtseg.studies.runs.recipe import Recipe, check_recipe
from rtseg.studies.runs.runner import check_start, explain, train
from rtseg.studies.runs.training import Training, trainings
from rtseg.studies.runs.variant import Variant
from rtseg.terminal import Console

SCRATCH, PRETRAINED = "scratch", "pretrained"
_HAS_WEIGHTS = ("base_channels", "injection")  # the options that the segmenter must share; others are its recipe's
# Student's t for 1, 2, ... degrees of freedom: how many standard errors chance exceeds in one case of twenty. For few
# seeds it is far from 2.
_T975 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


@dataclass(frozen=True)
class Transfer:
    """mIoU of the last epoch by seed, from scratch and from the pre-trained backbone; equal seeds belong together."""

    scratch: Mapping[int, float]
    pretrained: Mapping[int, float]

    def gains(self) -> list[float]:
        """Pre-trained minus scratch, for every seed that has both."""
        return differences(self.pretrained, self.scratch)

    def noise(self) -> float | None:
        """Standard error of the mean gain, from its spread over the seeds; None for a single seed."""
        return standard_error(self.gains())

    def verdict(self) -> str:
        """One sentence."""
        gains, noise = self.gains(), self.noise()
        if not gains:
            return "no seed has both trainings yet"
        if noise is None:
            return f"{mean(gains):+.4f} mIoU over one seed, whose noise is unknown: take --seeds 4"
        least = _T975[min(len(gains) - 1, len(_T975)) - 1] * noise
        facts = f"{mean(gains):+.4f} mIoU, standard error {noise:.4f}, beyond chance from {least:.4f} on"
        if abs(mean(gains)) <= least:
            return f"{facts}: no difference is shown"
        return f"{facts}: {'it helps' if mean(gains) > 0 else 'it hurts'}"


def transfer_check(
    weights: Path, output: Path, *, config: Path, data: Path, epochs: int, seeds: int, jobs: int, flags: Sequence[str]
) -> Transfer:
    """Trains, prints a table, and writes `transfer.json`.

    Args:
        weights: folder that `pretrain export` wrote.
        config: of `rtseg fit`; model, attention, width and injection are those of the backbone.
        flags: further flags of `rtseg fit`.

    Raises:
        UserError: bad input; or a training failed, after the others were made.
    """
    for name, value in (("--seeds", seeds), ("--jobs", jobs)):
        check_at_least(name, value, 1)
    card, _ = read_weights(weights, parts=("backbone",))
    shared = {key: value for key, value in card.options.items() if key in _HAS_WEIGHTS}
    variant = Variant(card.attention, {key: list(v) if isinstance(v, tuple) else v for key, v in shared.items()})
    scratch = Recipe(card.model, config, data, epochs, tuple(flags))
    pretrained = replace(scratch, flags=(*flags, f"--model.weights={weights}"))
    recipes = {SCRATCH: scratch, PRETRAINED: pretrained}
    wanted = {arm: trainings([variant], range(seeds), output / arm) for arm in recipes}
    for arm, recipe in recipes.items():
        check_start(wanted[arm], recipe)
    console = Console(stderr=True)
    failed: dict[Training, str] = {}
    with locked_folder(output) as lock:
        for arm, recipe in recipes.items():
            make_folder(output / arm)
            check_recipe(recipe, output / arm / "recipe.json")
            console.print(f"{arm}:")
            failed |= train(wanted[arm], recipe, lock=lock, jobs=jobs, console=console)
        scores = {arm: {t.seed: t.score(["miou"])["miou"] for t in wanted[arm] if t.finished} for arm in recipes}
        transfer = Transfer(scores[SCRATCH], scores[PRETRAINED])
        result = {
            **scores, "gains": transfer.gains(), "noise": transfer.noise(), "epochs": epochs, "config": config.name,
            "backbone": {"model": card.model, "attention": card.attention, "source": card.source},
        }  # fmt: skip
        write_whole(output / "transfer.json", json.dumps(result) + "\n")
    _print(transfer)
    if failed:
        raise UserError("\n".join([*explain(failed), "The same command tries these again and keeps the others"]))
    return transfer


def _print(transfer: Transfer) -> None:
    seeds = sorted({*transfer.scratch, *transfer.pretrained})
    columns = [Column("from", left=True), *(Column(f"seed {seed}", form="{:.4f}", yields=1) for seed in seeds)]
    rows = [
        [arm, *map(scores.get, seeds), mean(scores.values()) if scores else None]
        for arm, scores in ((SCRATCH, transfer.scratch), (PRETRAINED, transfer.pretrained))
    ]
    show(Table("mIoU, last epoch", [*columns, Column("mean", form="{:.4f}")], rows))
    Console().print(f"Pre-training: {transfer.verdict()}.", soft_wrap=True)
