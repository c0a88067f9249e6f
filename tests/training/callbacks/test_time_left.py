"""When a training ends, by its own steps."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback
from torch import ones
from torch.utils.data import DataLoader

from rtseg.training.callbacks.time_left import TimeLeft, in_words, validations
from tests.training.callbacks.test_decoration import Line


def train(folder: Path, callback: Callback, batches: int, **trainer: Any) -> L.Trainer:
    """A training of `batches` an epoch, with two images a validation."""
    off = ("enable_progress_bar", "enable_model_summary", "enable_checkpointing", "logger")
    quiet: dict[str, Any] = dict.fromkeys(off, False)
    lightning = L.Trainer(callbacks=[callback], accelerator="cpu", default_root_dir=folder, **quiet, **trainer)
    lightning.fit(Line(), DataLoader(ones(batches)), DataLoader(ones(2)))  # type: ignore[arg-type]
    return lightning


class Count(Callback):
    """The steps after which it was validated."""

    def __init__(self) -> None:
        self.at: list[int] = []

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.at.append(trainer.global_step)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "trainer",
    [
        {"max_epochs": 3},
        {"max_epochs": 4, "check_val_every_n_epoch": 2},
        {"max_epochs": 2, "val_check_interval": 0.5},
        {"max_epochs": 4, "val_check_interval": 3, "check_val_every_n_epoch": 2},
        {"max_steps": 12, "val_check_interval": 5, "check_val_every_n_epoch": None},
        {"max_steps": 11},
        {"max_epochs": 2, "limit_val_batches": 0},
    ],
    ids=str,
)
def test_validations_are_foreseen(tmp_path: Path, trainer: dict[str, Any]) -> None:
    done = train(tmp_path, counted := Count(), 7, **{"max_epochs": -1, **trainer})
    assert [validations(done, step) for step in range(done.global_step + 1)] == [
        sum(at <= step for at in counted.at) for step in range(done.global_step + 1)
    ]


class Slow(TimeLeft):
    """Every batch takes 10 ms, every validation 50; stops after the 30th step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: float | None = None

    def on_train_batch_start(self, *_: Any) -> None:
        time.sleep(0.01)

    def on_validation_epoch_end(self, *_: Any) -> None:
        time.sleep(0.05)

    def on_train_batch_end(self, trainer: L.Trainer, *rest: Any, **more: Any) -> None:
        super().on_train_batch_end(trainer, *rest, **more)
        self.found = self.seconds(trainer)
        trainer.should_stop = trainer.global_step == 30


@pytest.mark.filterwarnings("ignore")
def test_the_end_is_foreseen_and_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, slow := Slow(), 10, max_epochs=500)
    assert slow.found is not None
    assert 0.8 * (4970 * 0.01 + 497 * 0.05) < slow.found < 10 * (4970 * 0.01 + 497 * 0.05)  # a busy machine is slower
    assert capsys.readouterr().out.count("The training takes about ") == 1


@pytest.mark.filterwarnings("ignore")
def test_a_limit_of_time_ends_it_before(tmp_path: Path) -> None:
    train(tmp_path, slow := Slow(), 10, max_epochs=500, max_time={"seconds": 5})
    assert slow.found is not None
    assert slow.found < 5


def test_times_in_words() -> None:
    seconds = (0.4, 45.2, 60, 160, 1500, 3600, 11000, 200000)
    assert [in_words(time) for time in seconds] == [
        "0 s", "45 s", "1 min", "2 min 40 s", "25 min", "1 h", "3 h 3 min", "2 d 7 h",
    ]  # fmt: skip
