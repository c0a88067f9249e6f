"""From a checkpoint of pre-training to a segmentation network."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pretrain.export import export
from pretrain.networks.classifier import classifier_options, create_classifier
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.backbone import backbone_options, choose_attention, create_backbone
from rtseg.models.backbone_folder import fit_command
from rtseg.models.model_card import ModelCard
from rtseg.models.weights import read_weights
from rtseg.training.pretrained import load_pretrained
from tests.helpers.segmenters import every_model, narrow

OPTIONS: dict[str, Any] = {"base_channels": 8}


def classifier_state(name: str, attention: str | None = None, **options: Any) -> dict[str, Tensor]:
    """A backbone's entries and those of a head, as a classifier has them."""
    backbone = create_backbone(name, attention=attention, **OPTIONS, **options)
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    return {**state, "head.0.weight": torch.zeros(3), "fc.weight": torch.zeros(4, 3)}


def write_checkpoint(file: Path, name: str = "rtformer_slim", **entries: Any) -> dict[str, Tensor]:
    """A file as `pretrain fit` writes it; gives the classifier's entries."""
    state = classifier_state(name)
    card = ModelCard(
        name, choose_attention(name, None), 4, OPTIONS, class_names=("a", "b", "c", "d"), input_size=(160, 160),
        dataset="imagenet", part="classifier",
    )  # fmt: skip
    content = {
        "model_card": card.to_dict(),
        "state_dict": {
            **{f"classifier.{key}": value for key, value in state.items()},
            "normalize.scale": torch.ones(3),
        },
        "epoch": 7,
        "global_step": 1234,
        **entries,
    }
    torch.save({key: value for key, value in content.items() if value is not None}, file)
    return state


def backbone_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


@pytest.mark.parametrize("name", every_model())
def test_the_backbone_arrives_in_the_segmentation_network(name: str, tmp_path: Path) -> None:
    state = backbone_part(write_checkpoint(tmp_path / "last.ckpt", name))
    lines = export(tmp_path / "last.ckpt", tmp_path / "net")
    segmenter = create_model(name, 5, **narrow(name, **OPTIONS))
    told = load_pretrained(segmenter, str(tmp_path / "net"))
    assert told[0].endswith(f"{len(state)} of {len(state)} entries; the heads are initialised.")
    assert len(told) == 1
    own = segmenter.state_dict()
    assert backbone_part(own).keys() == state.keys()
    assert all(torch.equal(own[key], value) for key, value in state.items())
    assert f"{tmp_path / 'net'}: backbone of {name}" in lines[0]
    assert f"--model.weights={tmp_path / 'net'}" in lines[1]


@pytest.mark.parametrize("name", every_model())
@torch.no_grad()
def test_the_segmentation_network_sees_what_the_classifier_saw(name: str, tmp_path: Path) -> None:
    classifier: Any = create_classifier(name, 4, **OPTIONS).eval()
    state = {f"classifier.{key}": value for key, value in classifier.state_dict().items()}
    write_checkpoint(tmp_path / "last.ckpt", name, state_dict=state)
    export(tmp_path / "last.ckpt", tmp_path / "net")
    same = classifier_options(name, OPTIONS)  # those that change no weight but what is seen: cross_size, low_stride
    segmenter = create_model(name, 5, **narrow(name, **same)).eval()
    load_pretrained(segmenter, str(tmp_path / "net"))
    image = torch.randn(1, 3, 40, 56)
    seen = classifier.backbone(image)
    assert all(torch.equal(feature, seen[key]) for key, feature in segmenter.backbone(image).items())


def test_the_card_says_what_it_was_trained_for(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last.ckpt", scores={"step": 1234, "val/top1": 0.61254, "val/top5": 0.9})
    lines = export(tmp_path / "last.ckpt", tmp_path / "net")
    card, _ = read_weights(tmp_path / "net", parts=("backbone",))
    assert card == ModelCard(
        "rtformer_slim", "gfa+ca", 4, OPTIONS, class_names=("a", "b", "c", "d"), input_size=(160, 160),
        dataset="imagenet", part="backbone", source="pre-training on 4 classes, epoch 7, step 1234, top-1 0.6125",
    )  # fmt: skip
    assert str(card.source) in lines[0]
    readme = (tmp_path / "net" / "README.md").read_text()
    assert str(card.source) in readme
    command = "rtseg fit --config CONFIG --model.name=rtformer_slim --model.attention=gfa+ca "
    assert f"{command}--model.options.base_channels=8 --model.weights=FOLDER" in readme


@pytest.mark.parametrize(
    ("name", "options", "flags"),
    [
        ("rtformer_slim", {}, ""),
        ("rtformer_slim", {"base_channels": backbone_options("rtformer_slim")["base_channels"]}, ""),
        ("rtformer_slim", {"cross_size": 12, "drop_path": 0.1}, ""),
        (
            "rtformer_slim",
            {"base_channels": 8, "injection": (True, True), "drop_path": 0.1},
            " --model.options.base_channels=8 --model.options.injection=[true,true]",
        ),
        ("ddrnet_23_slim", {"low_stride": 32, "base_channels": 8}, " --model.options.base_channels=8"),
    ],
)
def test_the_command_names_the_options_that_the_weights_need(name: str, options: dict[str, Any], flags: str) -> None:
    attention = choose_attention(name, None)
    told = fit_command(ModelCard(name, attention, 4, options, part="backbone"), "net")
    chosen = "" if attention == "none" else f" --model.attention={attention}"
    assert told == f"rtseg fit --config CONFIG --model.name={name}{chosen}{flags} --model.weights=net"
    given = dict(flag.removeprefix("--model.options.").split("=") for flag in flags.split())
    rebuilt = create_backbone(name, **{key: json.loads(value) for key, value in given.items()})
    wanted = create_backbone(name, **options).state_dict()
    assert {key: value.shape for key, value in rebuilt.state_dict().items()} == {
        key: value.shape for key, value in wanted.items()
    }


def test_the_moving_average_comes_before_the_last_weights(tmp_path: Path) -> None:
    average = classifier_state("rtformer_slim")
    last = write_checkpoint(tmp_path / "last.ckpt", ema_state_dict=average)
    export(tmp_path / "last.ckpt", tmp_path / "net")
    card, state = read_weights(tmp_path / "net", parts=("backbone",))
    key = "backbone.stem.0.weight"
    assert torch.equal(state[key], average[key]) != torch.equal(state[key], last[key])
    assert card.source == "pre-training on 4 classes, epoch 7, step 1234, moving average"


def test_a_network_that_only_classifies_is_refused(tmp_path: Path) -> None:
    card = ModelCard("resnet18", "none", 4, part="classifier").to_dict()
    write_checkpoint(tmp_path / "last.ckpt", model_card=card)
    with pytest.raises(UserError, match=r"'resnet18', and there is no segmentation network of that .*rtformer_slim"):
        export(tmp_path / "last.ckpt", tmp_path / "net")
    assert not (tmp_path / "net").exists()


def card_of(**changes: Any) -> dict[str, Any]:
    return {**ModelCard("rtformer_slim", "gfa+ca", 4, OPTIONS, part="classifier").to_dict(), **changes}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"model_card": card_of(part="segmenter")},
            "holds a segmentation network .*, not a classifier in pre-training",
        ),
        ({"model_card": None}, "does not contain a model card"),
        ({"model_card": card_of(attention="sa+ca")}, r"not those that its card describes: .*missing.*unknown"),
        ({"model_card": card_of(options={"base_channels": 16})}, "not those that its card .* of another shape"),
        ({"model_card": card_of(options={"depth": 3})}, "no option 'depth'"),
        ({"ema_state_dict": {"fc.weight": torch.zeros(1)}}, "not those that its card describes: .* missing"),
    ],
)
def test_other_checkpoints_are_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    write_checkpoint(file, **entries)
    with pytest.raises(UserError, match=message) as error:
        export(file, tmp_path / "net")
    assert str(file) in str(error.value)
    assert not (tmp_path / "net").exists()


def test_a_missing_file_a_folder_and_a_damaged_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.ckpt' is not there: give a \.ckpt"):
        export(tmp_path / "absent.ckpt", tmp_path / "net")
    with pytest.raises(UserError, match=r"is a folder: give a \.ckpt"):
        export(tmp_path, tmp_path / "net")
    (tmp_path / "cut.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(UserError, match=r"cut\.ckpt' is damaged or no rtseg checkpoint"):
        export(tmp_path / "cut.ckpt", tmp_path / "net")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last.ckpt")
    export(tmp_path / "last.ckpt", tmp_path / "net")
    write_checkpoint(tmp_path / "last.ckpt", global_step=5678)
    with pytest.raises(UserError, match=r"is not empty, .*--overwrite"):
        export(tmp_path / "last.ckpt", tmp_path / "net")
    assert "step 1234" in json.loads((tmp_path / "net" / "config.json").read_text())["source"]
    export(tmp_path / "last.ckpt", tmp_path / "net", overwrite=True)
    assert "step 5678" in json.loads((tmp_path / "net" / "config.json").read_text())["source"]
