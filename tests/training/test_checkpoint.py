"""What a checkpoint says of itself is compared with what a command asks for; and the best of a run that was resumed."""

from pathlib import Path

import lightning as L
import pytest
import torch
from jsonargparse import Namespace

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.training.checkpoint import BestCheckpoint, check_model


def test_another_network_is_named_by_all_that_differs() -> None:
    card = ModelCard("rtformer_slim", "gfa+ca", 11, {"cross_size": 4}, head="conv")
    asked = Namespace(name="rtformer_slim", attention="sa", options={}, head="conv", insert=None)
    with pytest.raises(UserError, match=r"model.attention=sa differs from the checkpoint's gfa") as error:
        check_model(asked, {"model_card": card.to_dict()})
    assert "set --model.attention=gfa+ca" in str(error.value)
    other = Namespace(name="rtformer_slim", attention="gfa+ca", options={"base_channels": 8}, head=None, insert=None)
    with pytest.raises(UserError, match=r"model.head=.* differs .*; model.options=.*base_channels.* differs"):
        check_model(other, {"model_card": card.to_dict()})


def test_a_moved_run_keeps_its_best(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    before = BestCheckpoint(tmp_path / "before", "val/miou")
    before.best_model_score = torch.tensor(0.5)
    before.best_model_path = str(tmp_path / "before" / "best.ckpt")
    (tmp_path / "before").rename(tmp_path / "after")
    (tmp_path / "after" / "best.ckpt").touch()
    after = BestCheckpoint(tmp_path / "after", "val/miou")
    after.load_state_dict(before.state_dict())
    assert after.best_model_score == 0.5
    assert after.best_k_models == {str(tmp_path / "after" / "best.ckpt"): 0.5}
    assert not after.check_monitor_top_k(L.Trainer(accelerator="cpu", logger=False), torch.tensor(0.4))


def test_a_state_from_before_the_first_score_takes_the_next(tmp_path: Path) -> None:
    """best.ckpt is then of a validation that a killed training saw, and the resumed one repeats."""
    (tmp_path / "best.ckpt").touch()
    best = BestCheckpoint(tmp_path, "val/miou")
    best.load_state_dict(best.state_dict())
    assert best.check_monitor_top_k(L.Trainer(accelerator="cpu", logger=False), torch.tensor(0.4))
