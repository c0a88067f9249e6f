"""A kept step is run again, and its cause is found."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from rtseg.cli import main
from rtseg.data.dataset import Sample
from rtseg.errors import UserError
from rtseg.training.module import SegmentationModule
from rtseg.training.replay import facts
from tests.helpers.command import check_refused, exit_status

run = partial(exit_status, main)


def leave_step(folder: Path, model: dict[str, Any], weights: float = 1, rate: float = 1e-3, **trainer: Any) -> str:
    """Trains until the first step stops the training; the message."""
    torch.manual_seed(0)
    optim = {"lr": rate, "warmup_steps": 0, "lr_batch_size": None}
    module = SegmentationModule(**model, num_classes=3, optim=optim, ema_decay=0.9)  # type: ignore[arg-type]
    with torch.no_grad():
        dict(module.segmenter.named_parameters())["head.classifier.classify.2.weight"].mul_(weights)
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    batch = Sample(image, torch.randint(3, (2, 32, 32)), ["left", "right"], [(32, 32)] * 2)  # type: ignore[arg-type]
    fitting = L.Trainer(
        accelerator="cpu", max_epochs=1, default_root_dir=folder, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **trainer,
    )  # fmt: skip
    with pytest.raises(UserError) as error:
        fitting.fit(module, DataLoader([batch], batch_size=None))  # type: ignore[arg-type]
    return str(error.value)


@pytest.mark.parametrize(
    ("poison", "says"),
    [
        ({"weights": 3e38}, r"that of head\.classifier\.classify\.2, in float32 too: its weights or inputs have grown"),
        (
            {"weights": 1e18, "gradient_clip_val": 5},
            r"The gradient is not finite, in float32 too: the outputs of head\S+, up to 3.1e\+18, have grown "
            r"too large: lower model\.optim\.lr\.$",
        ),
        ({"rate": 1e30}, r"so it was the update: a learning rate of 1e\+31 is too large\."),
        pytest.param(
            {"precision": "16-true"},
            r"so it was the update: AdamW's moments do not fit 16-true",
            marks=pytest.mark.slow,
        ),
        ({"precision": "16-true", "weights": 1e4}, r"only in 16-true; float32 is finite"),
    ],
)
def test_the_cause_is_found(
    tmp_path: Path, tiny_model: dict[str, Any], poison: dict[str, Any], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = leave_step(tmp_path, tiny_model, **poison)
    assert f"`rtseg replay {tmp_path}`" in message
    capsys.readouterr()
    assert run("replay", str(tmp_path), "--device=cpu") == 0
    said = capsys.readouterr().out
    assert re.search(says, said.splitlines()[-1]), said
    for part in ("Step 1, epoch 1", "main", "aux", "Largest gradient", "Labels: 0 3"):
        assert part in said


def test_a_run_without_such_a_step_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_refused(run("replay", str(tmp_path)), "nonfinite.ckpt' does not exist", capsys)
    torch.save({"model_card": {}, "state_dict": {}}, tmp_path / "last.ckpt")
    check_refused(run("replay", str(tmp_path / "last.ckpt")), "does not contain a step to run again", capsys)


def test_odd_images_are_named() -> None:
    image, mask = torch.arange(2 * 3 * 4).reshape(2, 3, 2, 2).byte(), torch.tensor([0, 0, 1, 255]).repeat(2, 1)
    image[1], mask = 7, mask.reshape(2, 2, 2).clone()
    mask[1] = 255
    labels, odd = facts({"image": image, "mask": mask, "name": ["a", "b"]}, 255)
    assert labels == "Labels: 0 25.0%, 1 12.5%, ignored 62.5%"
    assert odd == "Odd: b: every pixel is 7, every label is ignored"
