import csv
import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from rtseg.deploy.engines import FP32
from rtseg.deploy.engines.eager import Eager
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import describe
from rtseg.training.callbacks.fps_monitor import FPSMonitor


class TinyTraining(LightningModule):
    """Draws from every random generator in every step, so that one draw by the callback changes the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.segmenter = create_model("rtformer_slim", 3, base_channels=8, spp_channels=8, cross_size=2)

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        assert self.segmenter.training
        assert torch.is_grad_enabled()
        noise = torch.rand(()) + random.random() + float(np.random.rand())
        logits = self.segmenter.forward_train(batch[0] * noise)["main"]
        loss = F.cross_entropy(logits, batch[1])
        self.log("val/miou", 1 / (1 + loss))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


def train(folder: Path, callbacks: list[FPSMonitor], loggers: list[Any], **trainer: Any) -> TinyTraining:
    torch.manual_seed(3)
    random.seed(3)
    np.random.seed(3)
    module = TinyTraining()
    data = TensorDataset(torch.randn(6, 3, 32, 32), torch.randint(0, 3, (6, 32, 32)))
    options: dict[str, Any] = {"max_steps": 4, "log_every_n_steps": 1, "accelerator": "cpu", **trainer}
    Trainer(
        callbacks=[*callbacks],
        logger=loggers,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        **options,
    ).fit(module, DataLoader(data, batch_size=2, shuffle=True))
    return module


@pytest.mark.filterwarnings("ignore")
def test_training_is_the_same_and_speed_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads, mode = torch.get_num_threads(), torch.backends.cudnn.benchmark
    without = train(tmp_path, [], [])
    drawn = float(torch.rand(())), random.random(), float(np.random.rand())
    table, board = CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="board")
    monitor = FPSMonitor(input_size=(24, 40), batch_size=2, seconds=0.3)
    with_monitor = train(tmp_path, [monitor], [table, board])

    for key, value in without.state_dict().items():
        assert torch.equal(value, with_monitor.state_dict()[key]), key
    assert (float(torch.rand(())), random.random(), float(np.random.rand())) == drawn
    assert (torch.get_num_threads(), torch.backends.cudnn.benchmark) == (threads, mode)
    assert all(parameter.requires_grad for parameter in with_monitor.parameters())

    with (Path(table.log_dir) / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    speed = [row for row in rows if row["speed/fps"]]
    assert [row["step"] for row in speed] == ["0", "4"]  # at the start and at the end
    assert any(row["val/miou"] for row in rows)
    for row in speed:
        fps, latency, network_fps = (float(row[f"speed/{name}"]) for name in ("fps", "latency_ms", "network_fps"))
        assert math.isclose(fps, 2 * 1000 / latency)
        assert network_fps > 0
    report = json.loads((Path(table.log_dir) / "speed.json").read_text())
    (row,) = report["networks"]
    assert (row["input_size"], row["batch_size"], row["backend"]) == ([24, 40], 2, "eager:fp32")
    assert row["class_map"]["median_ms"] == pytest.approx(float(speed[-1]["speed/latency_ms"]))
    events = EventAccumulator(str(board.log_dir)).Reload()
    assert [event.step for event in events.Scalars("speed/fps")] == [0, 4]

    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Speed: ")]
    assert len(said) == 2
    for part in ("from image to class map", "24x40", "batch 2", " threads"):
        assert part in said[0]


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_is_refused_a_time_stops_no_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Eager.precisions, "fp32", replace(FP32, most_logits_error=-1.0))
    table = CSVLogger(tmp_path, name="csv")
    train(tmp_path, [FPSMonitor(input_size=(24, 40), seconds=0.1)], [table])
    assert capsys.readouterr().out.count("Speed: not measured, logits differ by") == 2
    assert not Path(table.log_dir, "speed.json").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_trial_of_a_step_is_not_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, [FPSMonitor(input_size=(24, 40), seconds=0.1)], [], fast_dev_run=1)
    assert "Speed:" not in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")
def test_input_size_comes_from_the_card(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set input_size"):
        train(tmp_path, [FPSMonitor(seconds=0.1)], [])
    train(tmp_path, [FPSMonitor(enabled=False)], [])  # measures nothing, so needs no size
    segmenter = TinyTraining().segmenter
    describe(segmenter, input_size=(16, 48))
    assert FPSMonitor()._size(segmenter) == (16, 48)
    assert FPSMonitor(input_size=(4, 5))._size(segmenter) == (4, 5)


@pytest.mark.parametrize(
    "bad",
    [{"seconds": 0}, {"batch_size": 0}, {"input_size": (0, 4)}, {"input_size": (4, 4, 4)}, {"device": "gpu"}],
)
def test_bad_arguments_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        FPSMonitor(**bad)


def test_a_training_needs_to_say_nothing_of_it() -> None:
    assert FPSMonitor().input_size is None
