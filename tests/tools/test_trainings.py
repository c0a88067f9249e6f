"""What `make torture` takes for an uninterrupted training's result, and what not."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tools.torture.trainings import difference


def write(folder: Path, *, rate: float = 0.5, loss: str = "1.5", speed: str = "3", **files: bytes) -> Path:
    """A training's folder."""
    folder.mkdir()
    state: dict[str, Any] = {
        "global_step": 2,
        "state_dict": {"w": torch.zeros(2)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.tensor([rate])}}}],
    }
    for name in ("last.ckpt", "best.ckpt"):
        torch.save(state, folder / name)
    (folder / "metrics.csv").write_text(f"step,train/loss,speed/data_wait\n0,2.5,1\n1,{loss},{speed}\n")
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({}, ""),
        ({"speed": "4"}, ""),
        ({"rate": 0.5 + 2**-24}, "last.ckpt: optimizer_states.0.state.0.exp_avg"),
        ({"loss": "1.25"}, "metrics.csv: missing [(1, 'train/loss', '1.5')]"),
        ({"loss": ""}, "metrics.csv: missing [(1, 'train/loss', '1.5')], new [], 1 numbers for 2"),
        ({"_last_ckpt-unfinished": b""}, "left behind: .last.ckpt-unfinished"),
    ],
)
def test_every_bit_and_row_counts(tmp_path: Path, other: dict[str, Any], found: str) -> None:
    said = difference(write(tmp_path / "whole"), write(tmp_path / "other", **other))
    assert said.startswith(found)
    assert bool(said) == bool(found)


def test_a_row_twice_is_a_difference(tmp_path: Path) -> None:
    whole, other = write(tmp_path / "whole"), write(tmp_path / "other")
    with (other / "metrics.csv").open("a") as file:
        file.write("1,1.5,3\n")
    assert "3 numbers for 2" in difference(whole, other)
    (other / "best.ckpt").unlink()
    assert difference(whole, other) == "there is no best.ckpt"
