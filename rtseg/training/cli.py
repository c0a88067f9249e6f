"""`rtseg fit|validate|test`: the command that trains and scores segmenters."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import LightningArgumentParser

from rtseg.configs import CONFIGS
from rtseg.data.dataset import create_dataset, image_space, label_space
from rtseg.data.image_space import ImageSpace
from rtseg.data.intact import check_readable
from rtseg.data.survey import survey
from rtseg.deploy.protocol import Protocol
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.backbone import choose_attention, choose_head
from rtseg.options import check_reserved
from rtseg.output.folders import write_whole
from rtseg.output.table import show
from rtseg.scores import Scores
from rtseg.scores.boundary import check_width
from rtseg.scores.picture import png
from rtseg.terminal import say
from rtseg.training.callbacks.fps_monitor import FPSMonitor
from rtseg.training.callbacks.pictures import PredictionPictures
from rtseg.training.checkpoint import check_model, read_header
from rtseg.training.data_report import describe, describe_findings, repair
from rtseg.training.datamodule import SegmentationData, pairs_of
from rtseg.training.from_data import AUTO, choose, follows_data, take_recorded
from rtseg.training.losses import LossConfig
from rtseg.training.module import SegmentationModule
from rtseg.training.run_cli import SCORING, RunCLI, is_first_process, run


class RTSegCLI(RunCLI):
    """Segmentation: also times the network and draws what it predicts."""

    program = "rtseg"
    configs = CONFIGS
    monitor = "val/miou"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_lightning_class_args(FPSMonitor, "fps")
        parser.link_arguments("data.in_channels", "model.in_channels", apply_on="instantiate")
        if sys.argv[1:] and sys.argv[1] in SCORING:
            add_scoring(parser)

    def default_run(self, config: Namespace) -> str:
        return f"{config.model.name.replace(':', '_')}_{config.data.dataset}"  # no drive of Windows

    def check_model(self, asked: Namespace, checkpoint: dict[str, Any]) -> None:
        check_model(asked, checkpoint)

    def prepare(self, config: Namespace, command: str | None) -> None:
        config.model.attention = choose_attention(config.model.name, config.model.attention)
        config.model.head = choose_head(config.model.name, config.model.head)
        if command in ("validate", "test") and config.get("ckpt_path") is None and config.model.weights is None:
            raise UserError(
                f"rtseg {command} needs trained weights: give --ckpt_path runs/.../best.ckpt, or --model.weights"
            )
        if config.model.insert:
            check_insertion(config.model)
        if command in SCORING and config.boundary is not None:
            check_width("--boundary", config.boundary)
        if command in SCORING and config.protocol is not None:
            protocol = Protocol.parse(
                config.protocol, resize=config.data.eval_resize, upsampling=config.data.upsampling
            )
            config.data.eval_resize, config.data.upsampling = protocol.resize, protocol.upsampling
        look_at_data(config, command)

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self._command in SCORING:
            config, module = self.config[self._command], self.model
            resize, upsampling = self.datamodule.eval_resize, self.datamodule.upsampling
            module.protocol = Protocol.parse(config.protocol or "whole", resize=resize, upsampling=upsampling)
            module.evaluation.boundary_width = config.boundary

    def fits(self, config: Namespace, processes: int) -> bool:
        share, left = divmod(config.data.batch_size, processes)
        if left or share < 2:  # BatchNorm needs two images
            return False
        if config.trainer.limit_val_batches == 0:
            return True
        return len(create_dataset(config.data.dataset, config.data.root, "val", config.data.channels)) >= processes

    def more_callbacks(self, config: Namespace) -> list[Callback]:
        return [PredictionPictures()]


def check_insertion(model: Namespace) -> None:
    """Before the masks are counted, which may take minutes.

    Raises:
        UserError: no such network, place or attention.
    """
    options = model.options or {}
    check_reserved(options)
    with torch.device("meta"):
        create_model(model.name, 2, attention=model.attention, head=model.head, insert=model.insert, **options)


def look_at_data(config: Namespace, command: str | None) -> None:
    """Finds what is wrong with data, labels and class weights, and puts values in the place of `auto`.

    This happens before the network is built and timed. A resumed training takes what its checkpoint recorded.

    Args:
        config: it is changed.

    Raises:
        UserError: the data cannot be used, or nothing can be learnt from them.
    """
    data, loss = config.data, config.model.loss
    name, root = data.dataset, data.root
    image_space(name, root, ImageSpace(data.channels, data.mean, data.std, data.shown)).check_normalised()
    checkpoint = read_header(config.get("ckpt_path"))
    if checkpoint is not None:
        take_recorded(config, checkpoint)
    if command in SCORING and loss.class_weights == AUTO:
        loss.class_weights = None  # a score does not depend on them
    if loss.class_weights not in (None, AUTO):
        LossConfig(**loss.as_dict()).for_classes(label_space(name, root).names)
    if command == "fit" and checkpoint is None:
        _begin(config)
    elif follows_data(config):
        scored = {"validate": "val", "test": "test"}
        choose(config, survey(create_dataset(name, root, scored.get(command or "", "train"), data.channels)))
    config.model.batch_size = config.data.batch_size


def _begin(config: Namespace) -> None:
    """Says what the data of a new training are like, and what follows from that."""
    speaks = is_first_process()
    if not speaks and not follows_data(config):
        return
    train, *validation = (
        create_dataset(config.data.dataset, config.data.root, split, config.data.channels)
        for split in ("train", "val")
        if split == "train" or config.trainer.limit_val_batches != 0
    )
    try:
        found = survey(train)
    except UserError as error:
        check_readable(pairs_of([*validation, train]), read=train.read)  # it names damaged files of both
        raise UserError(f"{error}{repair(train)}") from None
    lines = describe(found, validation[0] if validation else None)
    if speaks:
        lines += describe_findings([train, *validation])
    if chosen := choose(config, found):
        lines += ["Chosen from the data; any of it may be given as a flag:", *map(str, chosen)]
    if speaks:
        say("\n".join(lines))


def add_scoring(parser: LightningArgumentParser) -> None:
    """The flags of `validate` and `test` alone."""
    for flags, kind, text in (
        (("--protocol",), str, "flips, scales or windows, such as ms-flip (docs/evaluation.md)"),
        (("--boundary",), float, "boundary IoU, of outlines so wide: 0.02 of the diagonal in its paper"),
        (("-o", "--scores"), str, ".json file for all scores"),
        (("--picture",), str, ".png file for the confusion matrix"),
    ):
        parser.add_argument(*flags, type=kind | None, default=None, help=text)


def _show(scores: Scores, config: Namespace) -> None:
    """Prints the scores, and writes the files that are asked for."""
    show(scores.table(), notes=scores.notes())
    if config.scores is not None:
        write_whole(Path(config.scores).expanduser(), scores.json())
    if config.picture is not None:
        write_whole(Path(config.picture).expanduser(), png(scores))


def main(args: list[str]) -> None:
    """Runs `fit`, `validate` or `test` with the rest of the command line."""
    cli = run(RTSegCLI, SegmentationModule, SegmentationData, args, "Train and score segmentation networks.")
    command = args[0] if args else ""
    if command in SCORING and cli.trainer.is_global_zero:
        config, module = cli.config[command], cli.model
        assert module.scores is not None
        how = {
            "checkpoint": config.ckpt_path or config.model.weights, "dataset": config.data.dataset,
            "split": "val" if command == "validate" else "test", "protocol": config.protocol or "whole",
            "eval_resize": module.protocol.resize, "upsampling": module.protocol.upsampling,
        }  # fmt: skip
        _show(replace(module.scores, how=how), config)
