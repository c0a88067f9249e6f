"""`rtseg fit|validate|test`: the command that trains and scores segmenters."""

from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser
from rich.console import Console
from rich.table import Table

from rtseg.errors import UserError
from rtseg.models.backbone import choose_attention
from rtseg.training.callbacks.fps_monitor import FPSMonitor
from rtseg.training.callbacks.pictures import PredictionPictures
from rtseg.training.checkpoint import check_model
from rtseg.training.datamodule import SegmentationData
from rtseg.training.module import SegmentationModule
from rtseg.training.run_cli import RunCLI, run


class RTSegCLI(RunCLI):
    """Segmentation: also times the network and draws what it predicts."""

    program = "rtseg"
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
        if command in ("validate", "test") and config.get("ckpt_path") is None and config.model.weights is None:
            raise UserError(
                f"rtseg {command} needs trained weights: give --ckpt_path runs/.../best.ckpt, or --model.weights"
            )

    def more_callbacks(self, config: Namespace) -> list[Callback]:
        return [PredictionPictures()]


def _print_scores(console: Console, scores: dict[str, float], stage: str) -> None:
    table = Table(title=f"mIoU {scores[f'{stage}/miou']:.4f}   pixel accuracy {scores[f'{stage}/accuracy']:.4f}")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for key, value in scores.items():
        if key.startswith(f"{stage}/iou_"):
            table.add_row(key.removeprefix(f"{stage}/iou_"), f"{value:.4f}" if value == value else "- (does not occur)")
    console.print(table)


def main(args: list[str]) -> None:
    """Runs `fit`, `validate` or `test` with the rest of the command line."""
    cli = run(RTSegCLI, SegmentationModule, SegmentationData, args, "Train and score segmentation networks.")
    command = args[0] if args else ""
    if command in ("validate", "test"):
        scores = {key: float(value) for key, value in cli.trainer.callback_metrics.items()}
        if cli.trainer.is_global_zero:
            _print_scores(Console(), scores, "val" if command == "validate" else "test")
