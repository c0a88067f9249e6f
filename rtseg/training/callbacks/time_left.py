"""How long a training still takes, by its own steps and validations."""

import math
import time
from collections import deque
from datetime import datetime, timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Timer

from rtseg.terminal import say
from rtseg.training.callbacks.decoration import Decoration

UNSTEADY = 5  # first batches of a process: kernels are chosen, memory is taken
ENOUGH = 20  # batches after those, by which the time is said
PATIENCE = 60.0  # seconds after which fewer must do
SHORT = 20.0  # seconds: an end that near is not said
RECENT = 200  # batches that count


class TimeLeft(Decoration):
    """Estimates when the training ends, and says it once, as soon as its speed is steady.

    A step counts with its wait for data. A validation counts with what it writes; before the first one, it is estimated
    from the images of Lightning's check that validation runs.
    """

    def __init__(self) -> None:
        self._batches: deque[float] = deque(maxlen=RECENT)  # seconds each
        self._image: float | None = None  # seconds of one image in the check of the validation
        self._validation: float | None = None  # seconds of the last one
        self._validated_at = -1  # batches: where a validation is due, this tells whether it has been
        self._seen, self._since, self._said = 0, 0.0, False

    def seconds(self, trainer: L.Trainer) -> float | None:
        """Until the end of the training; None while its speed is not known."""
        if not self._batches:
            return None
        done, total = _batches(trainer)
        batch = sum(self._batches) / len(self._batches)
        left = validations(trainer, total) - validations(trainer, done if self._validated_at == done else done - 1)
        images = sum(trainer.num_val_batches) if left else 0
        one = self._validation if self._validation is not None else (self._image or batch) * images
        return min(max(total - done, 0) * batch + left * one, _allowed(trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validating_since = self._image_since = time.monotonic()

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if trainer.sanity_checking:  # the last image's: the first waits for the loader's processes
            self._image, self._image_since = time.monotonic() - self._image_since, time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking and trainer.state.fn == "fit":
            self._validation, self._validated_at = time.monotonic() - self._validating_since, _batches(trainer)[0]
        self._since = time.monotonic()

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._seen:  # the timing of the network lies before the first
            self._began = self._since = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        now = time.monotonic()
        self._seen += 1
        if self._seen > UNSTEADY:
            self._batches.append(now - self._since)
        self._since = now
        if self._said or not trainer.is_global_zero or not self._batches:
            return
        if len(self._batches) >= ENOUGH or now - self._began >= PATIENCE:
            self._said = True
            left = self.seconds(trainer) or 0.0
            if left >= SHORT:
                say(f"The training takes about {in_words(left)} more, until {clock(left)}.")


def _allowed(trainer: L.Trainer) -> float:
    """Seconds that `trainer.max_time` leaves; infinite without it."""
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    timers = [callback for callback in callbacks if isinstance(callback, Timer)]
    return min((timer.time_remaining() or 0.0 for timer in timers), default=math.inf)


def _batches(trainer: L.Trainer) -> tuple[int, int]:
    """Batches of each process: made, and of the whole training."""
    parts = trainer.accumulate_grad_batches
    return trainer.global_step * parts, int(trainer.estimated_stepping_batches) * parts


def validations(trainer: L.Trainer, batches: int) -> int:
    """How many come with the first `batches` of a training, by Lightning's rules."""
    every, epoch = trainer.val_check_batch, trainer.num_training_batches
    if not trainer.enable_validation or not isinstance(every, int) or not every:
        return 0
    epochs = trainer.check_val_every_n_epoch
    if epochs is None:
        return batches // every
    if math.isinf(epoch):
        return 0
    whole, rest = divmod(batches, int(epoch))
    return whole // epochs * (int(epoch) // every) + (rest // every if (whole + 1) % epochs == 0 else 0)


def in_words(seconds: float) -> str:
    """45.2 -> '45 s', 160 -> '2 min 40 s', 1500 -> '25 min', 11000 -> '3 h 3 min', 200000 -> '2 d 7 h'."""
    whole = round(seconds)
    for size, unit, parts, part in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // parts
            return f"{whole // size} {unit}" + f" {rest} {part}" * (rest > 0 and (unit != "min" or whole < 600))
    return f"{whole} s"


def clock(seconds: float) -> str:
    """When so much time has passed: '14:32'; 'Tue 14:32' where that is another day."""
    now = datetime.now()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == now.date() else "%a %d %b %H:%M")
