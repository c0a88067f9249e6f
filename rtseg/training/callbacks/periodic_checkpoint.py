"""`last.ckpt` also between validations, which may be hours apart."""

import re
import time
from pathlib import Path
from typing import Any

import lightning as L

from rtseg.checks import check_above, check_at_least
from rtseg.errors import UserError
from rtseg.training.between_steps import BetweenSteps, between_steps, save_between_steps

_SECONDS = {"s": 1, "min": 60, "h": 3600}


class PeriodicCheckpoint(BetweenSteps):
    """Writes a checkpoint every so many optimizer steps, or when so much time has passed since the last one.

    ModelCheckpoint's own `every_n_train_steps` forgets in a resumed training that it has just saved, and saves between
    two parts of an accumulated batch, whose gradients a checkpoint does not hold; and after an epoch's last batch, so
    that the resumed training leaves out the validation that was due.

    Args:
        every: optimizer steps, or a time: "90s", "10min", "2h".

    Raises:
        UserError: `every` is neither.
    """

    def __init__(self, file: str | Path, every: int | str) -> None:
        self.file = Path(file)
        self.seconds = parse_time(every) if isinstance(every, str) else None
        self.steps = every if isinstance(every, int) else 1
        check_at_least("--save_every", self.steps, 1, "it counts optimizer steps; a time is written 10min")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._count_from_here(trainer)

    def on_step_end(self, trainer: L.Trainer) -> None:
        due = trainer.global_step // self.steps > self._saved // self.steps
        if due and self.seconds is not None:
            # Clocks differ, and saving waits for all processes: where it is time in one it is time in all.
            late = time.monotonic() - self._saved_at >= self.seconds
            due = trainer.strategy.reduce_boolean_decision(late, all=False)
        if due and between_steps(trainer):
            save_between_steps(trainer, self.file)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Where a validation has just saved, it is not time yet."""
        self._count_from_here(trainer)

    def _count_from_here(self, trainer: L.Trainer) -> None:
        self._saved, self._saved_at = trainer.global_step, time.monotonic()


def parse_time(text: str) -> float:
    """'10min' -> 600.0 seconds.

    Raises:
        UserError: it is no time.
    """
    match = re.fullmatch(r"([\d.]+) *(s|min|h)", text)
    if match is None or match[1].count(".") > 1 or match[1] == ".":
        raise UserError(f"--save_every {text!r} is neither a number of steps (500) nor a time (90s, 10min, 2h)")
    seconds = float(match[1]) * _SECONDS[match[2]]
    check_above("--save_every", seconds, 0, "last.ckpt is written when so much time has passed")
    return seconds
