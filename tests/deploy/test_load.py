"""`rtseg.load` on files good and bad. It must know what a training writes without importing the training."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rtseg
from rtseg.deploy.fuse import deploy
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture

IMAGE = texture((45, 60))


def checkpoint(segmenter: Segmenter, **extra: Any) -> dict[str, Any]:
    """As the training module writes it."""
    state = {f"segmenter.{key}": value for key, value in segmenter.state_dict().items()}
    return {"model_card": segmenter.card.to_dict(), "state_dict": state, "epoch": 3, "global_step": 40, **extra}


def class_map(segmenter: Segmenter) -> np.ndarray:
    return deploy(segmenter)(torch.from_numpy(IMAGE)).numpy()


@pytest.fixture
def other(segmenter: Segmenter) -> dict[str, torch.Tensor]:
    """Weights of the same network that predict something else."""
    state = {key: value.clone() for key, value in segmenter.state_dict().items()}
    state["head.classifier.classify.2.bias"] += torch.tensor([0, 0, 1e6, 0, 0])
    return state


def test_checkpoint_and_folder(segmenter: Segmenter, tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter), tmp_path / "last.ckpt")
    segmenter.save_pretrained(tmp_path / "net")
    expected = class_map(segmenter)
    assert len(np.unique(expected)) > 1
    for path in (tmp_path / "last.ckpt", str(tmp_path / "net")):
        segment = rtseg.load(path, device="cpu")
        assert segment.card == segmenter.card
        assert np.array_equal(segment(IMAGE), expected)


def test_moving_average_is_preferred(segmenter: Segmenter, other: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter, ema_state_dict=other), tmp_path / "best.ckpt")
    assert np.unique(rtseg.load(tmp_path / "best.ckpt", device="cpu")(IMAGE)).tolist() == [2]


def refuse(path: str | Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        rtseg.load(path, device="cpu")
    for part in parts:
        assert part in str(caught.value)


def test_missing_path_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    refuse(tmp_path / "lost.ckpt", "lost.ckpt", "last.ckpt")
    refuse(tmp_path / "runs" / "best.ckpt", "best.ckpt", "runs")
    refuse(tmp_path, str(tmp_path), "config.json", "last.ckpt")


def test_misspelt_relative_path_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rtseg.paths.fetch", lambda *a, **k: pytest.fail("asked the internet"))
    (tmp_path / "runs" / "camvid").mkdir(parents=True)
    refuse("runs/camvit", "camvit", "camvid")
    refuse("nowhere/best.ckpt", "nowhere/best.ckpt")


def test_hub_id_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refuse("nobody/no-such-network", "nobody/no-such-network", "Hugging Face")


def test_truncated_files(segmenter: Segmenter, tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter), tmp_path / "whole.ckpt")
    data = (tmp_path / "whole.ckpt").read_bytes()
    for size in (0, 3, 100, len(data) // 2, len(data) - 10):
        (tmp_path / "cut.ckpt").write_bytes(data[:size])
        refuse(tmp_path / "cut.ckpt", "cut.ckpt")


def test_files_of_others(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are my notes on segmentation, not weights\n")
    refuse(tmp_path / "notes.txt", "notes.txt")
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6"}, tmp_path / "other.ckpt")
    refuse(tmp_path / "other.ckpt", "model card", "pytorch-lightning_version")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    refuse(tmp_path / "tensor.pt", "Tensor")
    torch.save(checkpoint(segmenter, hook=subprocess.Popen), tmp_path / "evil.ckpt")
    refuse(tmp_path / "evil.ckpt", "evil.ckpt")
    torch.save(checkpoint(segmenter) | {"model_card": {"model": "rtformer_slim"}}, tmp_path / "card.ckpt")
    refuse(tmp_path / "card.ckpt", "num_classes")


def test_weights_that_do_not_fit_their_card(segmenter: Segmenter, tmp_path: Path) -> None:
    whole = checkpoint(segmenter)
    first = next(iter(whole["state_dict"]))
    torch.save(
        whole | {"state_dict": {k: v for k, v in whole["state_dict"].items() if k != first}}, tmp_path / "a.ckpt"
    )
    refuse(tmp_path / "a.ckpt", "1 missing", first.removeprefix("segmenter."), "a.ckpt")
    torch.save(whole | {"state_dict": whole["state_dict"] | {"segmenter.odd": torch.zeros(1)}}, tmp_path / "b.ckpt")
    refuse(tmp_path / "b.ckpt", "1 unknown (odd)")
    card = segmenter.card.to_dict() | {"num_classes": 4, "class_names": [], "palette": [], "ids": []}
    torch.save(whole | {"model_card": card}, tmp_path / "c.ckpt")
    refuse(tmp_path / "c.ckpt", "of another shape")
