"""A run folder with everything in it, made of files as a training writes them."""

from pathlib import Path

import pytest
import yaml

from rtseg.models import create_model
from rtseg.speed.benchmark import Candidate, Case, Conditions, benchmark
from tests.helpers.run_folder import (
    OPTIONS,
    log_rows,
    write_checkpoint,
    write_data,
    write_log,
    write_picture,
)


@pytest.fixture(scope="session")
def measured() -> str:
    """A real benchmark of a tiny network, as `rtseg benchmark -o` writes it."""
    network = create_model("rtformer_slim", 11, **OPTIONS)
    short = Conditions(device="cpu", warmup_seconds=0.01, seconds=0.05, most_seconds=0.2, rounds=3)
    return benchmark([Case(Candidate(network), "eager", (1, 24, 32))], short).to_json() + "\n"


@pytest.fixture
def run(tmp_path: Path, measured: str) -> Path:
    """A run folder with everything in it."""
    run = tmp_path / "my run"
    run.mkdir()
    write_log(run, log_rows())
    write_data(tmp_path / "data")
    config = {
        "trainer": {"max_epochs": 4, "precision": "bf16-mixed", "accelerator": "cpu"},
        "model": {"name": "rtformer_slim", "attention": "gfa+ca"},
        "data": {"dataset": "camvid", "root": str(tmp_path / "data"), "batch_size": 2, "crop_size": [24, 32]},
        "fps": {"batch_size": 1, "device": None},
    }
    (run / "config.yaml").write_text("# lightning\n" + yaml.safe_dump(config))
    write_checkpoint(run)
    (run / "benchmark.json").write_text(measured)
    for step, level in ((20, 40), (30, 120), (40, 200)):
        write_picture(run / f"pictures/step_{step:06d}.jpg", (48, 96), (level, level, level))
    for k in range(9):
        write_picture(run / f"predictions/drive/{k}_overlay.jpg", (30, 40))
        write_picture(run / f"predictions/drive/{k}.png", (30, 40))
    return run
