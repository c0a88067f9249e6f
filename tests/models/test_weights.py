"""Reading checkpoints, with and without a moving average, and what is none. Folders: test_segmenter.py."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model
from rtseg.models.weights import read_weights


def small() -> Any:
    return create_model("rtformer_slim", 3, base_channels=8, spp_channels=16)


def checkpoint(network: Segmenter, **entries: Any) -> dict[str, Any]:
    """As the training writes it: the network's entries among others."""
    state = {f"segmenter.{key}": value for key, value in network.state_dict().items()}
    return {"model_card": network.card.to_dict(), "state_dict": {**state, "normalize.scale": torch.ones(3)}, **entries}


def test_a_checkpoint_gives_its_network(tmp_path: Path) -> None:
    network = small()
    torch.save(checkpoint(network), tmp_path / "last.ckpt")
    card, state = read_weights(tmp_path / "last.ckpt")
    assert card == network.card
    assert state.keys() == network.state_dict().keys()
    back: Any = Segmenter.from_pretrained(tmp_path / "last.ckpt")
    assert torch.equal(back.backbone.stem[0].weight, network.backbone.stem[0].weight)
    assert not back.training


def test_the_moving_average_comes_before_the_last_weights(tmp_path: Path) -> None:
    network, average = small(), small()
    torch.save(checkpoint(network, ema_state_dict=average.state_dict()), tmp_path / "last.ckpt")
    _, state = read_weights(str(tmp_path / "last.ckpt"))
    assert torch.equal(state["backbone.stem.0.weight"], average.backbone.stem[0].weight)


class Touches:
    """Pickles as a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.mark),)


def test_foreign_objects_in_a_checkpoint_are_not_run(tmp_path: Path) -> None:
    torch.save(checkpoint(small(), callbacks=Touches(tmp_path / "mark")), tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last\.ckpt' is damaged or no rtseg checkpoint"):
        read_weights(tmp_path / "last.ckpt")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ckpt", b"", r"is empty \(0 bytes\): copy it again, or give another checkpoint"),
        ("a.ckpt", b"text, not weights", r"is damaged or no rtseg checkpoint \(17 bytes\): copy it again"),
        ("a.ckpt", b"PK\x03\x04 cut", "is damaged or no rtseg checkpoint"),
        ("a.ckpt", pickle.dumps({"a": 1}, protocol=2), "is damaged or no rtseg checkpoint|holds no model card"),
        ("model.safetensors", b"", "does not say which network it is of: give its folder"),
        ("model.pdparams", b"", "holds PaddleSeg's weights: `rtseg convert`"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_weights(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, r"holds no model card \(found: state_dict, epoch\)"),
        ([1, 2], r"holds no model card \(found: list\)"),
        ({"state_dict": {}, "model_card": {"model": "m"}}, "model card: attention, num_classes missing"),
    ],
)
def test_checkpoints_of_others_are_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=message) as error:
        read_weights(tmp_path / "other.ckpt")
    assert str(tmp_path / "other.ckpt") in str(error.value)


def test_a_checkpoint_cut_short_is_refused(tmp_path: Path) -> None:
    torch.save(checkpoint(small()), tmp_path / "last.ckpt")
    whole = (tmp_path / "last.ckpt").read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "last.ckpt").write_bytes(whole[:length])
        told = (
            rf"'{tmp_path}/last\.ckpt' is damaged or no rtseg checkpoint \({length} bytes\): copy it again, or [^']*$"
        )
        with pytest.raises(UserError, match=told):
            read_weights(tmp_path / "last.ckpt")


def test_checkpoint_entries_that_do_not_fit_their_card_are_refused(tmp_path: Path) -> None:
    content = checkpoint(small())
    del content["state_dict"]["segmenter.backbone.stem.0.weight"]
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match=r"last.ckpt' do not fit.*1 missing \(backbone.stem.0.weight\)"):
        Segmenter.from_pretrained(tmp_path / "last.ckpt")
