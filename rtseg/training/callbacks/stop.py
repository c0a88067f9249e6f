"""Ctrl-C, SIGTERM and SIGHUP end a training after the step it is in, with a checkpoint to resume from."""

import signal
from pathlib import Path
from types import FrameType
from typing import Any

import lightning as L

from rtseg.command_line import catch_signals, restore_signals, say_at_once
from rtseg.errors import STOPPED
from rtseg.training.between_steps import (
    BetweenSteps,
    between_steps,
    save_before_validation,
    save_between_steps,
    step_is_whole,
)


def is_stopping(trainer: L.Trainer) -> bool:
    """Whether a signal has asked this process of a training to end."""
    return any(callback.asked for callback in trainer.callbacks if isinstance(callback, StopGracefully))  # type: ignore[attr-defined]


class StopGracefully(BetweenSteps):
    """On SIGINT, SIGTERM or SIGHUP, finishes the step, writes `last.ckpt` and ends the program with status 75.

    A second Ctrl-C ends it at once. SIGTERM and SIGHUP may come several times for one wish: a scheduler sends them to
    each process and to their group.

    A checkpoint taken inside a step would hold BatchNorm statistics of a batch whose gradients were lost. A validation
    changes no weights: it ends after the image it is at, and the resumed training repeats it.

    Attributes:
        asked: whether a signal has come.
    """

    def __init__(self, folder: str | Path) -> None:
        self.checkpoint = Path(folder) / "last.ckpt"
        self.asked = self._end_validation = self._all_agreed = False
        self._previous: dict[int, Any] = {}
        self._speaks = True  # Ctrl-C reaches every process, and one of them says so

    # Not in `setup`: behind it Lightning puts up a handler of its own for SIGTERM.
    def on_sanity_check_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._previous, self._speaks = catch_signals(self._ask), trainer.is_global_zero

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._previous, self._speaks = self._previous or catch_signals(self._ask), trainer.is_global_zero

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            self.asked = self._end_validation = True
            self._say("Stopping after this training step (Ctrl-C again to stop at once) ...")
        elif number == signal.SIGINT:
            self._say(f"Stopped at once. {self._repair()}")
            raise SystemExit(STOPPED)

    def _say(self, text: str) -> None:
        if self._speaks:
            say_at_once(text)

    def on_step_end(self, trainer: L.Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked, all=False) and between_steps(trainer):
            self._all_agreed = True
            save_between_steps(trainer, self.checkpoint)
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        if not self._end_validation:
            return
        if trainer.sanity_checking:
            self._stop(trainer)
        # Several processes score unequal numbers of images, and saving waits for all: they make one more step.
        if trainer.world_size == 1 and step_is_whole(trainer):
            save_before_validation(trainer, self.checkpoint)
            self._stop(trainer)

    def _stop(self, trainer: L.Trainer) -> None:
        if trainer.is_global_zero:
            if bar := trainer.progress_bar_callback:
                bar.teardown(trainer, trainer.lightning_module, "fit")  # else it is drawn once more, below the line
            say_at_once(f"Stopped at step {trainer.global_step}. {self._repair()}")
        raise SystemExit(STOPPED)

    def _repair(self) -> str:
        if self.checkpoint.is_file():
            return f"Resume with the same command and --ckpt_path {self.checkpoint}"
        return "There is no checkpoint yet: the same command starts again"

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._restore()
        trainer.save_checkpoint(self.checkpoint)  # the steps after the last validation count too

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._restore()
        started = getattr(trainer.strategy.launcher, "procs", None)  # the other processes, in the one that started them
        if isinstance(exception, SystemExit) and started:
            for process in () if self._all_agreed else started:
                process.kill()  # it waits for this one, and neither saves any more
            started.clear()  # Lightning watches: where one ends with another status than 0 it would kill this one

    def _restore(self) -> None:
        restore_signals(self._previous)
        self._previous = {}
