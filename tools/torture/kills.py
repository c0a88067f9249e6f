"""SIGKILL at any moment of a training, and in the writing of a checkpoint: ends with the uninterrupted one's bits.

50 kills, 20 of them in the writing, which the torn file that is left proves.
"""

import random
import signal
from collections.abc import Iterator
from pathlib import Path

from tools.torture.interrupted import Interruption, Moment, interrupted
from tools.torture.outcome import Outcome
from tools.torture.trainings import Training, draw_data

_BETWEEN: tuple[Moment, ...] = ("start", "training", "training")

TRAININGS = (
    Training("plain, validated inside epochs", "--trainer.max_epochs=4 --trainer.val_check_interval=2"),
    Training(
        "moving average, accumulated, workers",
        "--trainer.max_epochs=5 --trainer.accumulate_grad_batches=2 --model.ema_decay=0.9 --data.num_workers=2 "
        "--model.options.drop_path=0.2 --model.options.base_channels=16",
    ),
    Training(
        "pre-training, workers, a checkpoint each step",
        "--trainer.max_epochs=3 --save_every=1 --model.ema_decay=0.9 --data.num_workers=2 --data.device_batch_size=4",
        program="pretrain",
    ),
    Training(
        "hard pixels, a validation each step",
        "--trainer.max_steps=12 --trainer.max_epochs=-1 --trainer.val_check_interval=1 --data.num_workers=1 "
        "--trainer.check_val_every_n_epoch=null --model.loss.ohem=true --model.loss.jaccard_weight=0.5 "
        "--trainer.gradient_clip_val=1 --model.options.base_channels=16",
    ),
)


def outcomes(folder: Path, quick: bool) -> Iterator[Outcome]:
    """One of each kill."""
    chance = random.Random(0)
    data = draw_data(folder / "data")
    for training, number in zip(TRAININGS, (0, 3, 0, 3) if quick else (12, 13, 12, 13), strict=True):
        if number:
            writing = -(-number * 2 // 5)
            kills = [Interruption(signal.SIGKILL, "writing")] * writing
            kills += [Interruption(signal.SIGKILL, _BETWEEN[k % 3]) for k in range(number - writing)]
            yield from interrupted(training, kills, data, folder, chance)
