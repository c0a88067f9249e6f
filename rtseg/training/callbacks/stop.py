"""Ctrl-C ends a training after the step it is in, with a checkpoint to go on from."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback


def between_steps(trainer: L.Trainer) -> bool:
    """No gradients wait for the rest of their batch, and no validation is due, which a resumed run would leave out."""
    loop = trainer.fit_loop.epoch_loop
    return not loop._should_accumulate() and not loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]


class StopGracefully(Callback):
    """On SIGINT, finishes the step, writes `last.ckpt` and stops; a second one stops at once. SIGTERM is treated alike.

    A checkpoint taken inside a step would hold BatchNorm statistics of a batch whose gradients were lost.
    """

    def __init__(self, folder: str | Path) -> None:
        self.checkpoint = Path(folder) / "last.ckpt"
        self._asked = False
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        print("\nStopping after this training step or validation (again to stop at once) ...", flush=True)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.strategy.reduce_boolean_decision(self._asked, all=False) and between_steps(trainer):
            self._save(trainer)
            raise KeyboardInterrupt

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()
        trainer.save_checkpoint(self.checkpoint)  # the steps after the last validation count too

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()
        # A second Ctrl-C in a validation: the weights are those of a whole step. Only alone: saving waits for all.
        if isinstance(exception, KeyboardInterrupt) and trainer.validating and trainer.world_size == 1:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        trainer.save_checkpoint(self.checkpoint)
        if trainer.is_global_zero:
            print(
                f"Stopped at step {trainer.global_step}. Go on with the same command and --ckpt_path {self.checkpoint}",
                flush=True,
            )

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()
