"""What decorates a training fails, and the training does not."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from rtseg.training.callbacks.decoration import Decoration, HarmlessLog


class Line(L.LightningModule):
    """A slope in training."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.ones(1))

    def training_step(self, batch: Tensor, index: int) -> Tensor:
        loss = (self.slope * batch).sum()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Tensor, index: int) -> None:
        self.log("score", self.slope)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def train(folder: Path, callbacks: list[Callback], logger: Any = False) -> int:
    """The steps that were made."""
    trainer = L.Trainer(
        callbacks=callbacks, logger=logger, max_epochs=2, accelerator="cpu", log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(Line(), *(DataLoader(torch.ones(4)) for _ in range(2)))  # type: ignore[arg-type]
    return trainer.global_step


HOOKS = [
    "on_train_start", "on_train_batch_start", "on_train_batch_end", "on_train_epoch_start", "on_validation_batch_end",
    "on_validation_epoch_end", "on_train_end", "on_fit_end",
]  # fmt: skip


def fails(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.filterwarnings("ignore")
def test_a_decoration_that_fails_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = type("Board", (Decoration,), dict.fromkeys(HOOKS, fails))
    assert train(tmp_path, [board(), board()]) == 8
    said = "Warning: Board failed and is left out where it does (OSError: [Errno 28] No space left on device)."
    assert capsys.readouterr().err.count(said) == 1


@pytest.mark.filterwarnings("ignore")
def test_a_decoration_of_lightnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It wants a logger, and there is none."""
    rates = type("Rates", (Decoration, LearningRateMonitor), {})
    assert train(tmp_path, [rates()]) == 8
    assert "Warning: Rates failed" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_log_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Log(HarmlessLog, CSVLogger):
        """Whose folder goes after a step."""

    class Thief(Callback):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            if (tmp_path / "log").is_dir():
                (tmp_path / "log").rename(tmp_path / "gone")
                (tmp_path / "log").touch()

    assert train(tmp_path, [Thief()], Log(tmp_path, name="log", version="", flush_logs_every_n_steps=1)) == 8
    assert "Warning: Log failed" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_bad_setting_ends_the_training_at_its_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        train(tmp_path, [type("Strict", (Decoration,), {"on_fit_start": fails})()])


@pytest.mark.filterwarnings("ignore")
def test_a_stop_from_a_decoration_is_obeyed(tmp_path: Path) -> None:
    class Stop(Decoration):
        def on_train_batch_end(self, *_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises((SystemExit, KeyboardInterrupt)):
        train(tmp_path, [Stop()])
