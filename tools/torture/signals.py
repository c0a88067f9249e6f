"""SIGTERM, SIGHUP and SIGINT at any moment: stops with status 75, ends with the uninterrupted one's bits and rows.

20 of them: before the first step, in steps, in validations, while a checkpoint is being written.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from tools.torture.interrupted import Interruption, Moment, interrupted
from tools.torture.outcome import Outcome
from tools.torture.trainings import Training, draw_data

TRAININGS = (
    Training(
        "steps and loaders",
        "--trainer.max_epochs=5 --trainer.accumulate_grad_batches=2 --data.num_workers=2 --model.ema_decay=0.9 "
        "--model.options.drop_path=0.2 --trainer.num_sanity_val_steps=0",
    ),
    Training(
        "a validation each step",
        "--trainer.max_epochs=3 --trainer.val_check_interval=1 --trainer.num_sanity_val_steps=5",
    ),
    Training("pre-training", "--trainer.max_epochs=4 --save_every=2 --data.num_workers=1", program="pretrain"),
)
_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_MOMENTS: tuple[Moment, ...] = ("training", "start", "training", "writing")


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """One of each signal."""
    chance = random.Random(1)
    data = draw_data(folder / "data")
    for training, number in zip(TRAININGS, (2, 2, 0) if quick else (8, 8, 4), strict=True):
        stops = [Interruption(_SIGNALS[k % 3], _MOMENTS[k % 4]) for k in range(number)]
        if stops:
            yield from interrupted(training, stops, data, folder, chance)
