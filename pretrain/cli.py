"""`python -m pretrain fit|validate`: the command that trains and scores classifiers."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser

from pretrain.datamodule import ImageNetData
from pretrain.module import ClassificationModule
from pretrain.networks.classifier import classifier_options
from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, choose_attention, list_models
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import differences
from rtseg.terminal import say
from rtseg.training.checkpoint import PeriodicCheckpoint
from rtseg.training.run_cli import RunCLI, run


class PretrainCLI(RunCLI):
    """Classification: saves within an epoch too, since one of ImageNet takes an hour or more on one device."""

    program = "python -m pretrain"
    monitor = "val/top1"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument(
            "--save_every", type=int, default=500, help="optimizer steps from one last.ckpt to the next"
        )

    def default_run(self, config: Namespace) -> str:
        return f"{config.model.name}_in1k"

    def prepare(self, config: Namespace, command: str | None) -> None:
        if config.model.name in list_models():
            config.model.attention = choose_attention(config.model.name, config.model.attention)
        check_at_least("--save_every", config.save_every, 1, "it counts optimizer steps, as --save_every 500")
        if command in ("validate", "test") and config.get("ckpt_path") is None:
            raise UserError(f"{self.program} {command} needs trained weights: give --ckpt_path runs/.../best.ckpt")

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        card = ModelCard.from_dict(checkpoint["model_card"])
        if card.part != "classifier":
            raise UserError(
                "--ckpt_path is a checkpoint of segmentation, no classifier: go on with it by rtseg fit --ckpt_path"
            )
        options = classifier_options(asked.name, asked.options or {})
        wanted = ModelCard(asked.name, asked.attention or NO_ATTENTION, card.num_classes, options)
        if card.model != wanted.model or card.model in list_models():
            found = differences(card, wanted)
        else:
            found = {} if dict(card.options) == dict(wanted.options) else {"options": (card.options, wanted.options)}
        for key, (theirs, ours) in found.items():
            flag = "name" if key == "model" else key
            raise UserError(
                f"model.{flag}={ours} differs from the checkpoint's {theirs}; a checkpoint keeps its own model: give "
                f"the same --model.{flag}, or start a new training"
            )

    def more_callbacks(self, config: Namespace) -> list[Callback]:
        return [PeriodicCheckpoint(Path(config.output) / "last.ckpt", config.save_every)]


def main(args: list[str]) -> None:
    """Runs `fit` or `validate` with the rest of the command line."""
    cli = run(PretrainCLI, ClassificationModule, ImageNetData, args, "Pre-train classifiers on ImageNet.")
    if args and args[0] == "validate" and cli.trainer.is_global_zero:
        scores = {key: float(value) for key, value in cli.trainer.callback_metrics.items()}
        say("   ".join(f"{key} {scores[f'val/{key}']:.4f}" for key in ("top1", "top5", "loss")))
