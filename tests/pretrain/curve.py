"""A training whose losses depend on the distribution over processes in nothing but the distribution logic: float64,
BatchNorm frozen, neither Mixup nor erasing. Called by test_distributed.py; writes each step's loss and the scores.
"""

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from pretrain.data.augment import AugmentConfig
from pretrain.data.mixing import MixConfig
from pretrain.datamodule import ImageNetData
from pretrain.module import ClassificationModule
from pretrain.optim import OptimConfig


class FrozenBatchNorm(L.Callback):
    """Statistics stay as they are, whatever part of a batch a process sees."""

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        for module in pl_module.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


class Curve(L.Callback):
    """The loss of every batch's part, averaged over the processes."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any) -> None:
        loss: Tensor = outputs["loss"].detach().clone() * trainer.accumulate_grad_batches  # Lightning divides by it
        self.losses.append(float(trainer.strategy.reduce(loss, reduce_op="mean")))


def main(root: str, output: str, devices: int, device_batch_size: int, steps: int) -> None:
    """Trains `steps` optimizer steps of eight images."""
    L.seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    data = ImageNetData(
        root, batch_size=8, device_batch_size=device_batch_size, num_workers=0,
        augment=AugmentConfig(image_size=32), eval_batch_size=3,
    )  # fmt: skip
    mix = MixConfig(random_erasing=0, mixup=0, cutmix=0)
    optim = OptimConfig(lr=1e-3, lr_batch_size=None, warmup_epochs=1)
    module = ClassificationModule(options={"base_channels": 8}, num_classes=3, mix=mix, optim=optim, batch_size=8)
    curve = Curve()
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", precision="64-true",
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False, num_sanity_val_steps=0,
        use_distributed_sampler=False, enable_model_summary=False, callbacks=[FrozenBatchNorm(), curve],
    )  # fmt: skip
    trainer.fit(module, data)
    if trainer.is_global_zero:
        scores = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("val/")}
        Path(output).write_text(json.dumps({"losses": curve.losses, "scores": scores}))
