"""`rtseg fit|validate|test`: the command that trains and scores segmenters."""

import math
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser

from rtseg.configs import CONFIGS
from rtseg.data.dataset import create_dataset
from rtseg.errors import UserError
from rtseg.models.backbone import choose_attention, choose_head
from rtseg.output.table import Column, Table, show
from rtseg.training.callbacks.fps_monitor import FPSMonitor
from rtseg.training.callbacks.pictures import PredictionPictures
from rtseg.training.checkpoint import check_model
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from rtseg.training.run_cli import RunCLI, run


class RTSegCLI(RunCLI):
    """Segmentation: also times the network and draws what it predicts."""

    program = "rtseg"
    configs = CONFIGS
    monitor = "val/miou"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_lightning_class_args(FPSMonitor, "fps")

    def default_run(self, config: Namespace) -> str:
        return f"{config.model.name}_{config.data.dataset}"

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        check_model(asked, checkpoint)

    def prepare(self, config: Namespace, command: str | None) -> None:
        config.model.attention = choose_attention(config.model.name, config.model.attention)
        config.model.head = choose_head(config.model.name, config.model.head)
        if command in ("validate", "test") and config.get("ckpt_path") is None and config.model.weights is None:
            raise UserError(
                f"rtseg {command} needs trained weights: give --ckpt_path runs/.../best.ckpt, or --model.weights"
            )

    def fits(self, config: Namespace, processes: int) -> bool:
        share, left = divmod(config.data.batch_size, processes)
        if left or share < 2:  # BatchNorm needs two images
            return False
        return len(create_dataset(config.data.dataset, config.data.root, "val")) >= processes

    def more_callbacks(self, config: Namespace) -> list[Callback]:
        return [PredictionPictures()]


def _scores(scores: dict[str, float], stage: str) -> Table:
    title = f"mIoU {scores[f'{stage}/miou']:.4f}   pixel accuracy {scores[f'{stage}/accuracy']:.4f}"
    prefix = f"{stage}/iou_"
    rows = [
        (key.removeprefix(prefix), "does not occur" if math.isnan(value) else value)
        for key, value in scores.items()
        if key.startswith(prefix)
    ]
    return Table(title, [Column("class", left=True), Column("IoU", form="{:.4f}")], rows)


def main(args: list[str]) -> None:
    """Runs `fit`, `validate` or `test` with the rest of the command line."""
    cli = run(RTSegCLI, SegmentationModule, SegmentationData, args, "Train and score segmentation networks.")
    command = args[0] if args else ""
    if command in ("validate", "test"):
        scores = {key: float(value) for key, value in cli.trainer.callback_metrics.items()}
        if cli.trainer.is_global_zero:
            show(_scores(scores, "val" if command == "validate" else "test"))
