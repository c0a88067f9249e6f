"""`python -m pretrain fit|validate`: the command that trains and scores classifiers."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pretrain.datamodule import ImageNetData, accumulated_parts
from pretrain.module import ClassificationModule
from pretrain.networks.classifier import classifier_options
from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, choose_attention, list_models
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import differences
from rtseg.terminal import say
from rtseg.training.run_cli import RunCLI, run


class PretrainCLI(RunCLI):
    """Classification."""

    program = "python -m pretrain"
    configs = Path(__file__).with_name("configs")
    monitor = "val/top1"

    def default_run(self, config: Namespace) -> str:
        return f"{config.model.name}_in1k"

    def prepare(self, config: Namespace, command: str | None) -> None:
        if config.model.name in list_models():
            config.model.attention = choose_attention(config.model.name, config.model.attention)
        if command in ("validate", "test") and config.get("ckpt_path") is None:
            raise UserError(f"{self.program} {command} needs trained weights: give --ckpt_path runs/.../best.ckpt")

    def fits(self, config: Namespace, processes: int) -> bool:
        with suppress(UserError):
            return accumulated_parts(config.data.batch_size, config.data.device_batch_size, processes) > 0
        return False

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        card = ModelCard.from_dict(checkpoint["model_card"])
        if card.part != "classifier":
            raise UserError(
                "--ckpt_path is a checkpoint of segmentation, not of a classifier: resume it with rtseg fit --ckpt_path"
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


def main(args: list[str]) -> None:
    """Runs `fit` or `validate` with the rest of the command line."""
    cli = run(PretrainCLI, ClassificationModule, ImageNetData, args, "Pre-train classifiers on ImageNet.")
    if args and args[0] == "validate" and cli.trainer.is_global_zero:
        scores = {key: float(value) for key, value in cli.trainer.callback_metrics.items()}
        say("   ".join(f"{key} {scores[f'val/{key}']:.4f}" for key in ("top1", "top5", "loss")))
