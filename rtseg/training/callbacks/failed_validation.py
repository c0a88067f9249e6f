"""A validation that fails, by one bad image say, costs no epoch: the weights that it was to score are saved first."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from rtseg.command_line import say_at_once
from rtseg.training.between_steps import save_before_validation, step_is_whole


class SaveFailedValidation(Callback):
    """Writes `last.ckpt` where a validation ends with an error; a training that is resumed from it validates first.

    Of several processes each fails alone, and saving waits for all: they save before every validation.
    """

    def __init__(self, folder: str | Path) -> None:
        self.checkpoint = Path(folder) / "last.ckpt"

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size > 1 and not trainer.sanity_checking and step_is_whole(trainer):
            save_before_validation(trainer, self.checkpoint)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        failed = trainer.validating and not trainer.sanity_checking and isinstance(exception, Exception)
        if not failed or not step_is_whole(trainer):
            return
        try:
            if trainer.world_size == 1:
                save_before_validation(trainer, self.checkpoint)
        except Exception:  # a full disk, weights that are not finite: the first error says what matters
            return
        say_at_once(
            f"The validation failed; the weights of step {trainer.global_step} are saved. When its cause is repaired, "
            f"the same command with --ckpt_path {self.checkpoint} repeats it"
        )
