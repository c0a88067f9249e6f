"""Checkpoints between two steps of a training, from which a resumed one continues with the same rows and bits."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback


class BetweenSteps(Callback):
    """A callback that may save and end a training between two steps, when all others have logged what they have."""

    def on_step_end(self, trainer: L.Trainer) -> None:
        """Called by `NetworkModule` at the end of every training batch."""
        raise NotImplementedError


def end_step(trainer: L.Trainer) -> None:
    """Gives the callbacks between steps their turn."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, BetweenSteps):
            callback.on_step_end(trainer)


def step_is_whole(trainer: L.Trainer) -> bool:
    """No gradients wait for the rest of their batch."""
    return not trainer.fit_loop.epoch_loop._should_accumulate()


def between_steps(trainer: L.Trainer) -> bool:
    """The step is whole, and no validation is due, which a resumed run would leave out."""
    loop = trainer.fit_loop.epoch_loop
    return step_is_whole(trainer) and not loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]


def save_between_steps(trainer: L.Trainer, file: Path) -> None:
    """Logs the step that ends, then writes the checkpoint; called in `on_step_end`, by all processes.

    A resumed training keeps the rows of the steps that its checkpoint holds, so those must be there first, also where
    the process is killed while it writes. Lightning logs a step only after its callbacks; `ResumableCSVLogger` leaves
    out the second time.
    """
    connector = trainer._logger_connector
    connector.on_batch_end()
    connector.update_train_step_metrics()
    trainer.save_checkpoint(file)


def save_before_validation(trainer: L.Trainer, file: Path) -> None:
    """Writes a checkpoint inside a validation, from which a resumed training repeats the whole of it."""
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    reached = progress.state_dict()
    progress.reset()
    progress.increment_ready()  # Lightning's mark of a validation that was begun; no image counts as scored
    progress.increment_started()
    trainer.save_checkpoint(file)
    progress.load_state_dict(reached)
