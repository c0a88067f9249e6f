"""What a training shows in a terminal: one bar for the whole of it, and a line for each validation."""

import math
import time
from pathlib import Path
from typing import Any

import lightning as L
import rich.progress
from lightning.pytorch.callbacks import ModelCheckpoint, ProgressBar
from rich.progress import BarColumn, TaskID, TextColumn

from rtseg.attention.insertion import described
from rtseg.terminal import Console, counted, say
from rtseg.training.callbacks.decoration import Decoration
from rtseg.training.callbacks.time_left import TimeLeft, in_words

_NAMES = {"miou": "mIoU", "top1": "top-1 accuracy", "epe": "EPE"}


class Progress(Decoration, ProgressBar):
    """Says what is trained, how far it is, the score of each validation, and where the best checkpoint lies.

    A file or a pipe gets the lines without the bars. `validate` and `test` show a bar alone.

    Args:
        monitor: the score of a validation that decides which is the best.
        time_left: what estimates the end of the training.
    """

    def __init__(self, monitor: str, time_left: TimeLeft) -> None:
        super().__init__()
        self.monitor, self.time_left = monitor, time_left
        self._enabled, self._score = True, ""
        self._began: float | None = None
        self._validated = False
        self._bars: rich.progress.Progress | None = None
        self._steps: TaskID | None = None
        self._images: TaskID | None = None

    def disable(self) -> None:
        """Shows nothing; Lightning asks for it in all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Undoes `disable`."""
        self._enabled = True

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if not self._enabled:
            return
        card, batch = pl_module.card, pl_module.step_size
        parameters = sum(parameter.numel() for parameter in pl_module.network.parameters()) / 1e6
        processes = f", {trainer.world_size} processes" if trainer.world_size > 1 else ""
        steps = trainer.estimated_stepping_batches
        classes = f"{card.num_classes} {pl_module.classes_called}"
        inserted = f", inserted: {described(card.insert)}" if card.insert else ""
        say(
            f"{card.model}: {parameters:.2f} million parameters, {classes}{inserted}. "
            f"{steps} step{'s' * (steps != 1)}{f' of {batch} images' if batch else ''} "
            f"({pl_module.device.type.replace('cpu', 'CPU')}{processes}, {trainer.precision})."
        )

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._began is None:  # the timing of the network lies before the first
            self._began, self._first_step = time.monotonic(), trainer.global_step
            self._open()
            self._steps = self._add(_place(trainer), int(trainer.estimated_stepping_batches))

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if self._bars is None or self._steps is None:
            return
        left = self.time_left.seconds(trainer)
        loss = trainer.progress_bar_metrics.get("train/loss")
        scores = f"loss {loss:.3f}  {self._score}" if isinstance(loss, float) else self._score
        self._bars.update(
            self._steps, completed=trainer.global_step, description=_place(trainer), scores=scores.rstrip(),
            left="" if left is None else f"{in_words(left)} left",
        )  # fmt: skip

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self._open()
            test = trainer.state.stage == "test"
            images = trainer.num_test_batches if test else trainer.num_val_batches
            self._images = self._add("testing" if test else "validating", int(sum(images)))

    def on_validation_batch_end(self, trainer: L.Trainer, *_: Any, **__: Any) -> None:
        if self._bars is not None and self._images is not None:
            self._bars.advance(self._images, trainer.world_size)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self._validated = True
        if self._bars is not None and self._images is not None:
            self._bars.remove_task(self._images)
        self._images = None
        if trainer.state.fn != "fit":
            self._close()
        elif self._enabled and self.monitor in trainer.callback_metrics:
            self._say_score(trainer, float(trainer.callback_metrics[self.monitor]))

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_end = on_validation_end

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._close()
        best = _best(trainer, self.monitor)
        if self._enabled and self._began is not None:
            steps, seconds = trainer.global_step - self._first_step, time.monotonic() - self._began
            path = best.best_model_path if best else ""
            found = f" The best checkpoint: {_shortest(path)}" if path else ""
            if best and not path and not self._validated:
                last = _shortest(str(Path(str(best.dirpath), "last.ckpt")))
                found = f" Never validated: {_why_not(trainer)}, so there is no score and no best.ckpt, only {last}"
            say(f"Trained {counted(steps, 'step')} in {in_words(seconds)}.{found}")

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._enabled and self._began is None:
            say(f"Nothing is left to train: the checkpoint has the last step, {trainer.global_step}.")

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gives the terminal back, however the training ended."""
        self._close()

    def _say_score(self, trainer: L.Trainer, value: float) -> None:
        best, place = _best(trainer, self.monitor), _place(trainer)
        before = None if best is None else best.best_model_score
        name = self.monitor.rpartition("/")[2]
        score = f"{_NAMES.get(name, name)} {value:.4f}"
        self._score = f"{score} ({place.partition(' of ')[0].lower()})"
        improved = best is not None and (before is None or (value < before if best.mode == "min" else value > before))
        left = self.time_left.seconds(trainer)
        say(f"{place}: {score}{' (best)' * improved}{f', about {in_words(left)} left' if left else ''}")

    def _open(self) -> None:
        console = Console()
        if self._enabled and self._bars is None and console.is_terminal:
            texts = (TextColumn(f"{{task.fields[{name}]}}", markup=False) for name in ("left", "scores"))
            description = TextColumn("{task.description}", markup=False)
            self._bars = rich.progress.Progress(
                description, BarColumn(None), *texts, console=console, expand=True, refresh_per_second=4
            )
            self._bars.start()

    def _close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = self._steps = self._images = None

    def _add(self, description: str, total: int) -> TaskID | None:
        return None if self._bars is None else self._bars.add_task(description, total=total, left="", scores="")


def _place(trainer: L.Trainer) -> str:
    """'Epoch 3 of 76', or 'Step 120 of 600' where the steps decide on the end, or on the validations."""
    if trainer.max_steps == -1 and trainer.val_check_batch == trainer.num_training_batches:
        return f"Epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
    return f"Step {trainer.global_step} of {trainer.estimated_stepping_batches}"


def _why_not(trainer: L.Trainer) -> str:
    """Why a training ended before its first validation."""
    if not trainer.limit_val_batches:
        return "trainer.limit_val_batches is 0"
    batches, every = trainer.val_check_batch, trainer.check_val_every_n_epoch
    if batches is None or math.isinf(batches):  # a time between validations, or data without a length
        return "the first validation was not due yet"
    before = 0 if every is None else (every - 1) * int(trainer.num_training_batches)
    step = math.ceil((before + batches) / trainer.accumulate_grad_batches)
    keys = {"trainer.check_val_every_n_epoch": every, "trainer.val_check_interval": trainer.val_check_interval}
    because = ", ".join(f"{key} is {value}" for key, value in keys.items() if value != 1)
    return f"the first validation is due after step {step}{f' ({because})' if because else ''}"


def _shortest(path: str) -> str:
    """From the current folder, where it lies below that; Windows has no way from one drive to another."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _best(trainer: L.Trainer, monitor: str) -> ModelCheckpoint | None:
    found = (callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint))
    return next((callback for callback in found if callback.monitor == monitor), None)
