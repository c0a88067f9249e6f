"""Callbacks that trainings of this folder are given by `--trainer.callbacks+=tools.torture.parts.NAME`."""

import json
from pathlib import Path
from typing import Any

import lightning as L
from torch import Tensor, nn

from rtseg.training.losses import LossContext
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


class Poison(L.Callback):
    """Makes the cross-entropy of some steps what it must not be.

    Args:
        value: nan or inf.
        first, last: 0-based steps.
        part: of a step whose gradients are accumulated; None is all.
        rank: of the process; None is all.
    """

    def __init__(self, value: str, first: int, last: int, part: int | None = None, rank: int | None = None) -> None:
        self.value, self.steps, self.part, self.rank = float(value), range(first, last + 1), part, rank

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        assert isinstance(module, SegmentationModule)
        right = module.total_loss.losses["cross_entropy"]

        def poisoned(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
            part = trainer.fit_loop.total_batch_idx % trainer.accumulate_grad_batches
            here = trainer.global_step in self.steps and self.part in (None, part)
            here = here and self.rank in (None, trainer.global_rank)
            return right(logits, mask, context) * (self.value if here else 1.0)

        module.total_loss.losses["cross_entropy"] = poisoned
