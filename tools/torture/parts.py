"""Callbacks that trainings of this folder are given by `--trainer.callbacks+=tools.torture.parts.NAME`."""

import json
from pathlib import Path
from typing import Any

import lightning as L
from torch import nn

from rtseg.training.module import SegmentationModule


class FrozenBatchNorm(L.Callback):
    """Statistics stay as they are, whatever part of a batch a process sees."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class Counts(L.Callback):
    """Writes `counts.json`: the confusion matrix of each validation, over all processes."""

    def on_validation_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, SegmentationModule)
        counts = module.evaluation.compute()[0].tolist()
        if trainer.is_global_zero:
            Path(trainer.default_root_dir, "counts.json").write_text(json.dumps(counts))
