"""How fast a training runs, and how much of its time it waits for data."""

import time
from typing import Any

import lightning as L

from rtseg.training.callbacks.decoration import Decoration


class ThroughputMonitor(Decoration):
    """Logs `speed/train_images_per_s` and `speed/data_wait`, the share of the time that the loop waits for its next
    batch (0..1).

    Both are means since the last logging; validation and the very first step, which starts the loader's processes, are
    left out. An epoch's first batch is waited for like the others.
    """

    def __init__(self) -> None:
        self._waiting_since: float | None = None
        self._begun = False
        self._reset()

    def _reset(self) -> None:
        self._images, self._waited, self._worked = 0, 0.0, 0.0

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._started = time.perf_counter()
        self._counts = self._waiting_since is not None
        if self._waiting_since is not None:
            self._waited += self._started - self._waiting_since

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._counts:
            self._worked += time.perf_counter() - self._started
            self._images += len(batch.image) * trainer.world_size
            every = trainer.log_every_n_steps  # type: ignore[attr-defined]
            if every and trainer.global_step % every == 0:
                total = self._waited + self._worked
                pl_module.log_dict(
                    {"speed/train_images_per_s": self._images / total, "speed/data_wait": self._waited / total}
                )
                self._reset()
        self._waiting_since = time.perf_counter()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._waiting_since = None

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._waiting_since = None

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._waiting_since = time.perf_counter() if self._begun else None
        self._begun = True
