"""`rtseg stereo fit|validate`: the command that trains and scores stereo networks."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from rtseg.configs import CONFIGS
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.output.table import Column, Table, show
from rtseg.tasks.stereo.data import StereoData
from rtseg.tasks.stereo.layouts import find_pairs
from rtseg.tasks.stereo.module import StereoModule, plain_insertion
from rtseg.tasks.stereo.psmnet import ALONE
from rtseg.tasks.stereo.scores import NAMES
from rtseg.tasks.stereo.weights import PART
from rtseg.training.checkpoint import check_same_model
from rtseg.training.run_cli import RunCLI, run

_MODEL = ("max_disparity", "insert", "align_corners", "ema_decay")  # what a score depends on
_SAID = {
    "epe": ("EPE: errors of all pixels over their number", "px"),
    "epe_batch_mean": ("EPE: mean of the batches' own, as many programs print it", "px"),
    "error_3px": ("pixels wrong by more than 3 px", "%"),
    "d1": ("pixels wrong by more than 3 px and 5 %", "%"),
}


class StereoCLI(RunCLI):
    """Stereo."""

    program = "rtseg stereo"
    configs = CONFIGS / "stereo"
    monitor = "val/epe"
    monitor_mode = "min"
    has_classes = False
    words = ("stereo",)

    def default_run(self, config: Namespace) -> str:
        return f"psmnet_{config.data.dataset}"

    def recorded(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        model = {f"model.{key}": checkpoint["hyper_parameters"].get(key) for key in _MODEL}
        data = {key: value for key, value in checkpoint["settings"].items() if key.startswith("data.")}
        return {key: value for key, value in model.items() if value is not None} | data

    def prepare(self, config: Namespace, command: str | None) -> None:
        if command == "validate" and config.get("ckpt_path") is None and config.model.weights is None:
            raise UserError(
                "rtseg stereo validate needs trained weights: give --ckpt_path runs/.../best.ckpt, or --model.weights"
            )
        config.model.insert = plain_insertion(config.model.insert)

    def fits(self, config: Namespace, processes: int) -> bool:
        share, left = divmod(config.data.batch_size, processes)
        if left or (share == 1 and max(config.data.crop_size) < ALONE):
            return False
        if config.trainer.limit_val_batches == 0:
            return True
        found = find_pairs(config.data.dataset, Path(config.data.root), "val", config.data.bad)
        return len(found.pairs) >= processes

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        card = ModelCard.from_dict(checkpoint["model_card"])
        if card.part != PART:
            raise UserError(f"--ckpt_path is the checkpoint of a {card.part}, not of a stereo network")
        theirs = checkpoint["hyper_parameters"]
        keys = [key for key in ("max_disparity", "insert", "align_corners") if key in theirs]
        check_same_model({key: (theirs[key], asked[key]) for key in keys if theirs[key] != asked[key]})


def _scores(scores: dict[str, float]) -> Table:
    rows: list[list[str | float | None]] = [
        [_SAID[name][0], scores[f"val/{name}"] * (100 if _SAID[name][1] == "%" else 1), _SAID[name][1]]
        for name in NAMES
    ]
    return Table("", [Column("score", left=True), Column("value", form="{:.4f}"), Column("unit", left=True)], rows)


def main(args: list[str]) -> None:
    """Runs `fit` or `validate` with the rest of the command line."""
    cli = run(StereoCLI, StereoModule, StereoData, args, "Train and score stereo networks.")
    if args and args[0] == "validate" and cli.trainer.is_global_zero:
        show(_scores({key: float(value) for key, value in cli.trainer.callback_metrics.items()}))
