import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.deploy.checkpoint import load_segmenter
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter


def checkpoint(segmenter: Segmenter, **extra: Any) -> dict[str, Any]:
    """As the training module writes it."""
    state = {f"segmenter.{key}": value for key, value in segmenter.state_dict().items()}
    return {"model_card": segmenter.card.to_dict(), "state_dict": state, "epoch": 3, "global_step": 40, **extra}


def assert_equal_weights(found: Segmenter, expected: dict[str, torch.Tensor]) -> None:
    assert found.state_dict().keys() == expected.keys()
    assert all(torch.equal(expected[key], value) for key, value in found.state_dict().items())


def test_lightning_checkpoint(segmenter: Segmenter, tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter), tmp_path / "last.ckpt")
    found = load_segmenter(tmp_path / "last.ckpt")
    assert_equal_weights(found, segmenter.state_dict())
    assert found.card == segmenter.card
    assert not found.training


def test_ema_weights_are_preferred(segmenter: Segmenter, tmp_path: Path) -> None:
    ema = {key: value + 1 for key, value in segmenter.state_dict().items()}
    torch.save(checkpoint(segmenter, ema_state_dict=ema), tmp_path / "best.ckpt")
    assert_equal_weights(load_segmenter(tmp_path / "best.ckpt"), ema)


def test_folder(segmenter: Segmenter, tmp_path: Path) -> None:
    segmenter.save_pretrained(tmp_path / "net")
    found = load_segmenter(str(tmp_path / "net"))
    assert_equal_weights(found, segmenter.state_dict())
    assert found.card == segmenter.card


def test_lightning_is_not_imported(segmenter: Segmenter, tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter), tmp_path / "last.ckpt")
    program = (
        "import sys, rtseg; p = rtseg.load(sys.argv[1], device='cpu'); import rtseg.deploy.benchmark; "
        "bad = [m for m in ('lightning', 'torchmetrics', 'albumentations') if m in sys.modules]; sys.exit(', '.join(bad))"
    )
    answer = subprocess.run([sys.executable, "-c", program, str(tmp_path / "last.ckpt")], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def refuse(path: str | Path, *parts: str) -> None:
    with pytest.raises(UserError) as caught:
        load_segmenter(path)
    for part in parts:
        assert part in str(caught.value)


def test_missing_path_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").touch()
    refuse(tmp_path / "lost.ckpt", "lost.ckpt", "Did you mean 'last.ckpt'?")
    refuse(tmp_path / "runs" / "best.ckpt", "runs", f"'{tmp_path}' holds last.ckpt")


def test_misspelt_relative_path_is_no_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would end in a question to the internet, and in an error about that."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "camvid").mkdir(parents=True)
    refuse("runs/camvit", "Did you mean 'camvid'?")
    refuse("nowhere/best.ckpt", "no weights at 'nowhere/best.ckpt'")


def test_hub_id_without_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refuse("nobody/no-such-network", "Hugging Face", "nobody/no-such-network")


def test_truncated_file(segmenter: Segmenter, tmp_path: Path) -> None:
    torch.save(checkpoint(segmenter), tmp_path / "whole.ckpt")
    data = (tmp_path / "whole.ckpt").read_bytes()
    for size in (0, 3, 100, len(data) // 2, len(data) - 10):
        (tmp_path / "cut.ckpt").write_bytes(data[:size])
        refuse(tmp_path / "cut.ckpt", "cut.ckpt", "rtseg" if 0 < size <= 3 else "truncated or damaged")


def test_files_that_are_no_checkpoint_of_rtseg(segmenter: Segmenter, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are my notes on segmentation, not weights\n")
    refuse(tmp_path / "notes.txt", "no checkpoint")
    torch.save({"state_dict": {}, "pytorch-lightning_version": "2.6"}, tmp_path / "other.ckpt")
    refuse(tmp_path / "other.ckpt", "no model_card", "pytorch-lightning_version")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    refuse(tmp_path / "tensor.pt", "holds a Tensor")
    torch.save({"model_card": {}, "hook": subprocess.Popen}, tmp_path / "evil.ckpt")
    refuse(tmp_path / "evil.ckpt", "neither tensors nor plain values", "Popen")
    torch.save(checkpoint(segmenter) | {"model_card": {"model": "rtformer_slim"}}, tmp_path / "card.ckpt")
    refuse(tmp_path / "card.ckpt", "card.ckpt", "num_classes")
    refuse(tmp_path, str(tmp_path), "config.json")
    (tmp_path / "model.safetensors").touch()
    refuse(tmp_path / "model.safetensors", f"give the folder, '{tmp_path}'")
    (tmp_path / "model.pdparams").touch()
    refuse(tmp_path / "model.pdparams", "rtseg convert")


def test_weights_that_do_not_fit_their_card(segmenter: Segmenter, tmp_path: Path) -> None:
    whole = checkpoint(segmenter)
    first = next(iter(whole["state_dict"]))
    torch.save(whole | {"state_dict": {k: v for k, v in whole["state_dict"].items() if k != first}}, tmp_path / "a.ckpt")
    refuse(tmp_path / "a.ckpt", "1 missing", first.removeprefix("segmenter."), "a.ckpt")
    torch.save(whole | {"state_dict": whole["state_dict"] | {"segmenter.odd": torch.zeros(1)}}, tmp_path / "b.ckpt")
    refuse(tmp_path / "b.ckpt", "1 unknown (odd)")
    card = segmenter.card.to_dict() | {"num_classes": 4, "class_names": [], "palette": [], "ids": []}
    torch.save(whole | {"model_card": card}, tmp_path / "c.ckpt")
    refuse(tmp_path / "c.ckpt", "of another shape")
