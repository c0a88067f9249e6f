"""Mask R-CNN on networks of timm: equal to itself with attention everywhere, with timm's weights, trained and used."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from rtseg.attention.insertion import list_places
from rtseg.cli import main
from rtseg.errors import STOPPED, UserError
from rtseg.tasks.instances.cli import InstancesCLI, cautions
from rtseg.tasks.instances.mask_rcnn import InstanceNetwork, create_network
from rtseg.tasks.instances.weights import load_weights
from tests.helpers.command import check_refused, exit_status
from tests.tasks.instances.test_cli import fit
from tests.tasks.instances.test_mask_rcnn import SMALL, evaluated, load_state, losses
from tests.training.callbacks.test_stop import Signal

NAME = "mask_rcnn_timm:test_resnet"
CONVNEXT = "mask_rcnn_timm:test_convnext"  # without BatchNorm
FA = "fa:basis=8:heads=1"


def small(insert: dict[str, Any] | None = None, name: str = NAME, **options: Any) -> InstanceNetwork:
    torch.manual_seed(0)
    return create_network(name, 3, insert=insert, **SMALL | options)


def check_equal(name: str, **options: Any) -> None:
    """With attention at every place, each is the original, in evaluation and in training."""
    plain = small(name=name, **options)
    places = list(list_places(plain.network))
    inserted = small({"*": FA}, name=name, **options)
    assert list(inserted.insert) == places
    assert load_state(inserted, plain) == inserted.entries(places)
    assert all(torch.equal(a, b) for a, b in zip(evaluated(plain.network), evaluated(inserted.network), strict=True))
    first, second = losses(plain.network), losses(inserted.network)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_with_attention_everywhere_it_equals_itself_at_its_start() -> None:
    check_equal(NAME)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["frozen", "batch"])
@pytest.mark.parametrize("body", ["convnext_atto", "efficientnet_b0", "swin_tiny_patch4_window7_224", "test_byobnet"])
def test_other_bodies_equal_themselves(body: str, norm: str) -> None:
    check_equal(f"mask_rcnn_timm:{body}", norm=norm, trainable=5)


@pytest.mark.parametrize(
    ("name", "options", "fresh", "said"),
    [
        (NAME, {}, True, ["a frozen BatchNorm without weights learns badly"]),
        (NAME, {}, False, []),
        (NAME, {"norm": "batch", "trainable": 5}, True, []),
        (NAME, {"norm": "batch"}, True, ["without weights, the parts of the body that are not trained"]),
        (CONVNEXT, {}, False, []),
        (CONVNEXT, {"norm": "frozen"}, False, [f"{CONVNEXT} has no BatchNorm, so that model.options.norm=frozen"]),
        (CONVNEXT, {"norm": "batch", "trainable": 5}, True, [f"{CONVNEXT} has no BatchNorm, so that"]),
        (CONVNEXT, {}, True, ["without weights, the parts of the body that are not trained stay as they were drawn"]),
    ],
)
def test_what_an_option_cannot_do_is_said(name: str, options: dict[str, Any], fresh: bool, said: list[str]) -> None:
    with torch.device("meta"):
        found = cautions(small(name=name, **options), fresh=fresh)
    assert [line.startswith(begin) for line, begin in zip(found, said, strict=True)] == [True] * len(said)


@pytest.mark.slow
def test_what_is_inserted_at_a_stage_changes_all_levels_that_follow() -> None:
    plain = small()
    for place in ("layer2", "fpn.p3", "fpn.p5"):
        network = small({place: FA})
        load_state(network, plain)
        before = evaluated(network.network)[:5]
        for key, value in network.network.named_parameters():
            if "inserted" in key and value.ndim > 1:
                torch.nn.init.normal_(value)
        changed = [not torch.equal(a, b) for a, b in zip(before, evaluated(network.network)[:5], strict=True)]
        expected = {"layer2": [True] * 5, "fpn.p3": [False, True, False, False, False]}
        assert changed == expected.get(place, [False, False, False, True, True]), place


def test_places_have_timms_names() -> None:
    places = list_places(small().network)
    assert list(places)[-9:] == ["layer1", "layer2", "layer3", "layer4", *(f"fpn.p{k}" for k in range(2, 7))]
    assert [places[f"layer{k}"].info.stride for k in range(1, 5)] == [4, 8, 16, 32]


def test_stages_are_frozen_from_the_first_on() -> None:
    def trained(trainable: int) -> set[str]:
        body = small(trainable=trainable, norm="batch").network.backbone.body.body
        return {name for name, part in body.named_children() if any(p.requires_grad for p in part.parameters())}

    assert trained(0) == set()
    assert trained(3) == {"layer2", "layer3", "layer4"}
    assert trained(4) == {"layer1", "layer2", "layer3", "layer4"}
    assert trained(5) > trained(4)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mask_rcnn_timm:test_resnt", "has no 'test_resnt'. Did you mean timm:test_resnet"),
        ("timm:test_resnet", "Or mask_rcnn_timm:NAME"),
        ("mask_rcnn_convnext_tiny", "Or mask_rcnn_timm:NAME"),
        ("mask_rcnn_timm:test_vit", "has maps of strides"),
    ],
)
def test_other_names_are_refused(name: str, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        small(name=name)


@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_timms_file_fills_the_body(norm: str, tmp_path: Path) -> None:
    theirs: dict[str, Tensor] = timm.create_model("test_resnet").state_dict()
    torch.save(theirs, tmp_path / "timm.pth")
    network = small({"layer4": FA}, norm=norm)
    loaded = load_weights(network, str(tmp_path / "timm.pth"))
    state = network.network.state_dict()
    begin = "backbone.body.body."
    body = {key.removeprefix(begin): value for key, value in state.items() if key.startswith(begin)}
    assert all(torch.equal(value, theirs[key]) for key, value in body.items())
    assert loaded.inserted == network.entries(["layer4"])
    assert not any(key.startswith(begin) for key in loaded.fresh)
    torch.save({**theirs, "layer4.9.conv1.weight": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="are not those of 'timm:test_resnet'"):
        load_weights(network, str(tmp_path / "other.pth"))
    with pytest.raises(UserError, match=r"there are no weights 'lost\.pth'"):
        load_weights(network, "lost.pth")
    with pytest.raises(UserError, match="coco weights of mask_rcnn_resnet50 alone"):
        load_weights(network, "coco")


@pytest.mark.slow
def test_it_trains_resumes_to_the_bit_and_predicts(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = (
        f"--model.name={NAME}", "--model.insert.layer3=fa:basis=8", "--model.insert.fpn.*=fa:basis=8",
        "--model.ema_decay=0.9", "--trainer.max_epochs=1",
    )  # fmt: skip
    assert fit(things, tmp_path / "whole", *flags) == 0
    stop = [Signal(signal.SIGTERM, step=2)]
    with monkeypatch.context() as patch:
        patch.setattr(InstancesCLI, "more_callbacks", lambda self, config: stop)
        assert fit(things, tmp_path / "cut", *flags) == STOPPED
    last = tmp_path / "cut/last.ckpt"
    check_refused(
        fit(things, tmp_path / "cut", *flags, "--model.insert.stages_1=fa", f"--ckpt_path={last}"),
        "unknown place 'stages_1'", capsys,
    )  # fmt: skip
    assert fit(things, tmp_path / "cut", *flags, f"--ckpt_path={last}") == 0
    whole, cut = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "cut"))
    assert whole["model_card"]["model"] == NAME
    for part in ("state_dict", "ema_state_dict"):
        assert whole[part].keys() == cut[part].keys()
        assert all(torch.equal(whole[part][key], cut[part][key]) for key in whole[part])
    best, output = str(tmp_path / "cut/best.ckpt"), tmp_path / "out"
    command = ("instances", "predict", best, str(things / "val2017"), "-o", str(output), "--device=cpu")
    assert exit_status(main, *command) == 0
    assert (output / "predictions.json").is_file()
    warm = fit(things, tmp_path / "warm", *flags, f"--model.weights={best}", "--trainer.max_steps=1")
    assert warm == 0
