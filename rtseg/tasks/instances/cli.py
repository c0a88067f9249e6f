"""`rtseg instances fit|validate`: the command that trains and scores Mask R-CNN."""

from dataclasses import replace
from typing import Any

from jsonargparse import Namespace

from rtseg.attention.insertion import as_insertion
from rtseg.configs import CONFIGS
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import check_part
from rtseg.options import check_reserved
from rtseg.output.table import Column, Table, show
from rtseg.tasks.instances.datamodule import InstanceData
from rtseg.tasks.instances.mask_rcnn import InstanceNetwork, MaskRCNNOptions, described_network
from rtseg.tasks.instances.module import InstanceModule
from rtseg.terminal import say
from rtseg.training.checkpoint import check_same_model
from rtseg.training.run_cli import RunCLI, is_first_process, run

_WHOLE = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "ar")


class InstancesCLI(RunCLI):
    """Instance segmentation."""

    program = "rtseg instances"
    configs = CONFIGS / "instances"
    monitor = "val/mask_ap"
    words = ("instances",)

    def default_run(self, config: Namespace) -> str:
        return str(config.model.name).replace(":", "_")  # no drive of Windows

    def prepare(self, config: Namespace, command: str | None) -> None:
        if command == "validate" and config.get("ckpt_path") is None and config.model.weights is None:
            raise UserError(f"{self.program} {command} needs trained weights: give --ckpt_path runs/.../best.ckpt")
        built = _network(config.model, num_classes=2)  # what is wrong with it is said before the annotations are read
        data = _data(config)
        splits = ["val"] if command == "validate" or config.trainer.limit_val_batches != 0 else []
        lines = [data.describe(split) for split in ["train"] * (command == "fit") + splits]
        if command == "fit" and splits and data.split("val").ids != data.classes.ids:
            raise UserError(
                f"the categories of training and validation differ: {data.classes.ids} and {data.split('val').ids}; "
                "give both files the same"
            )
        if is_first_process():
            say("\n".join(lines))
            if command == "fit":
                fresh = config.model.weights is None and config.get("ckpt_path") is None
                for line in cautions(built, fresh=fresh):
                    say(f"Caution: {line}.")

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        card = ModelCard.from_dict(checkpoint["model_card"])
        check_part(card, "--ckpt_path", ("detector",))
        built = _network(asked, card.num_classes)
        wanted = replace(card, model=built.name, options=built.options, insert=built.insert)
        theirs, ours = card.to_dict(), wanted.to_dict()
        keys = {"name": "model", "options": "options", "insert": "insert"}
        unlike = {flag: (theirs[key], ours[key]) for flag, key in keys.items() if theirs[key] != ours[key]}
        check_same_model(unlike)

    def fits(self, config: Namespace, processes: int) -> bool:
        if config.data.batch_size % processes:
            return False
        if config.trainer.limit_val_batches == 0:
            return True
        return len(_data(config).split("val").images) >= processes


def cautions(built: InstanceNetwork, *, fresh: bool) -> list[str]:
    """What a user of these options may not expect.

    Args:
        fresh: whether the training starts without weights.
    """
    found = []
    options = MaskRCNNOptions(**built.options)
    norms = [module for module in built.network.backbone.body.modules() if "BatchNorm" in type(module).__name__]
    if not norms and "norm" in built.options:
        found.append(f"{built.name} has no BatchNorm, so that model.options.norm={options.norm} changes nothing")
    if fresh and norms and options.norm == "frozen":
        found.append(
            "a frozen BatchNorm without weights learns badly: give --model.weights=imagenet or a file, or "
            "--model.options.norm=batch with --model.options.trainable=5"
        )
    elif fresh and options.trainable < 5:
        found.append(
            "without weights, the parts of the body that are not trained stay as they were drawn: give "
            "--model.weights=imagenet or a file, or --model.options.trainable=5"
        )
    return found


def _network(asked: Namespace, num_classes: int) -> InstanceNetwork:
    """The network of `config.model`, without weights.

    Raises:
        UserError: no such network, option, place or attention.
    """
    options = asked.options or {}
    check_reserved(options)
    return described_network(
        ModelCard(asked.name, NO_ATTENTION, num_classes, options, insert=as_insertion(asked.insert))
    )


def _data(config: Namespace) -> InstanceData:
    """The data of a configuration; a file in its place leaves its path among the values."""
    return InstanceData(**{key: value for key, value in config.data.as_dict().items() if not key.startswith("__")})


def _table(scores: dict[str, float], names: tuple[str, ...]) -> Table:
    rows = [(name, *(_shown(scores[f"val/{kind}_{name}"]) for kind in ("mask", "box"))) for name in _WHOLE]
    rows += [(f"ap of {k}", *(_shown(scores[f"val/{kind}_ap_{k}"]) for kind in ("mask", "box"))) for k in names]
    columns = [Column("score", left=True), Column("masks", form="{:.4f}"), Column("boxes", form="{:.4f}")]
    return Table("COCO's average precision", columns, rows)


def _shown(score: float) -> float | None:
    return score if score == score else None  # no such objects


def main(args: list[str]) -> None:
    """Runs `fit` or `validate` with the rest of the command line."""
    cli = run(InstancesCLI, InstanceModule, InstanceData, args, "Train and score networks for instances.")
    if args and args[0] == "validate" and cli.trainer.is_global_zero:
        scores = {key: float(value) for key, value in cli.trainer.callback_metrics.items()}
        show(_table(scores, cli.model.card.class_names))
