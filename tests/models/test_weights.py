"""Checkpoints, with and without a moving average, and what is none; backbones. Folders of segmenters:
test_segmenter.py.
"""

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import rtseg
from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.checkpoint_file import load_checkpoint
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


def test_the_best_checkpoint_says_its_score(tmp_path: Path) -> None:
    of_training = {"BestCheckpoint{}": {"monitor": "val/miou", "best_model_score": torch.tensor(0.48518)}}
    for name, callbacks, miou in (
        ("best.ckpt", of_training, 48.52),
        ("last.ckpt", of_training, None),
        ("best.ckpt", {"ModelCheckpoint{}": {"monitor": None, "best_model_score": None}}, None),
        ("best.ckpt", {"a": {"monitor": "val/miou", "best_model_score": "much"}, "b": 1}, None),
        ("best.ckpt", {"a": {"monitor": "val/miou", "best_model_score": torch.tensor(float("nan"))}}, None),
    ):
        torch.save(checkpoint(small(), callbacks=callbacks), tmp_path / name)
        assert read_weights(tmp_path / name)[0].miou == miou


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
        (
            "a.ckpt",
            pickle.dumps({"a": 1}, protocol=2),
            "is damaged or no rtseg checkpoint|does not contain a model card",
        ),
        ("model.safetensors", b"", "does not say which network it is of: give its folder"),
        ("model.pdparams", b"", "holds PaddleSeg's weights: `rtseg convert`"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        read_weights(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("name", ["photo.jpg", "a.ckpt"])
def test_an_image_is_called_one(name: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / name, format="JPEG")
    with pytest.raises(UserError, match=f"^--ckpt_path={tmp_path / name} is an image, where a checkpoint is expected"):
        load_checkpoint(tmp_path / name, flag="--ckpt_path")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {}, "epoch": 3}, r"does not contain a model card \(found: state_dict, epoch\)"),
        ([1, 2], r"does not contain a model card \(found: list\)"),
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


# --- other parts than segmenters


def write_backbone(folder: Path, name: str = "rtformer_slim") -> tuple[Path, dict[str, torch.Tensor]]:
    network = create_model(name, 3, base_channels=8, spp_channels=16)
    state = {key: value for key, value in network.state_dict().items() if key.startswith("backbone.")}
    save_backbone(folder, replace(network.card, num_classes=10, part="backbone", source="a test"), state)
    return folder, state


def write_classifier(file: Path) -> Path:
    content = checkpoint(small())
    content["model_card"]["part"] = "classifier"
    torch.save(content, file)
    return file


@pytest.mark.parametrize("name", ["rtformer_slim", "ddrnet_23_slim"])
def test_a_backbone_describes_itself_and_comes_back(name: str, tmp_path: Path) -> None:
    folder, state = write_backbone(tmp_path / "runs" / "net", name)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["net"]
    assert len({path.stat().st_mode for path in folder.iterdir()}) == 1
    card, back = read_weights(folder, parts=("backbone",))
    assert (card.part, card.num_classes, card.source) == ("backbone", 10, "a test")
    assert back.keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in back.items())
    readme = (folder / "README.md").read_text()
    assert f"rtseg fit --config CONFIG --model.name={name}" in readme
    assert ("--model.attention=gfa+ca" in readme) == (name == "rtformer_slim")


def test_an_interrupted_save_of_a_backbone_keeps_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = write_backbone(tmp_path / "net")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(*_: object, **__: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr("rtseg.models.weights_folder.save", fail)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match="disk full"):
            write_backbone(target)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_what_is_no_segmentation_network_says_what_it_is_and_what_it_is_good_for(tmp_path: Path) -> None:
    folder, _ = write_backbone(tmp_path / "net")
    file = write_classifier(tmp_path / "last.ckpt")
    told = {
        folder: f"'{folder}' holds a pre-trained backbone (rtformer_slim), not a segmentation network: train a "
        f"segmentation network from it with rtseg fit --model.weights={folder}",
        file: f"'{file}' holds a classifier in pre-training (rtformer_slim), not a segmentation network: export it "
        f"first with python -m pretrain export {file} -o FOLDER, and train a segmentation network from that with rtseg "
        "fit --model.weights=FOLDER",
    }
    for source, message in told.items():
        for read in (read_weights, Segmenter.from_pretrained, rtseg.load):
            with pytest.raises(UserError) as error:
                read(source)
            assert str(error.value) == message


@pytest.mark.parametrize("command", ["predict", "benchmark", "visualize", "export"])
def test_commands_refuse_what_is_no_segmentation_network(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, _ = write_backbone(tmp_path / "net")
    file = write_classifier(tmp_path / "last.ckpt")
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    picture = [str(tmp_path / "x.png")] if command in ("predict", "visualize") else []
    for source, kind in ((folder, "pre-trained backbone"), (file, "classifier in pre-training")):
        with pytest.raises(SystemExit) as end:
            main([command, str(source), *picture, "-o", str(tmp_path / ("out.onnx" if command == "export" else "out"))])
        assert end.value.code == 2
        assert f"'{source}' holds a {kind} (rtformer_slim), not a segmentation network" in capsys.readouterr().err
