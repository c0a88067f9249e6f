"""Mask R-CNN: torchvision's, changed by nothing but what is inserted."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18, resnet34
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn

from rtseg.attention.insertion import Inserted, list_places
from rtseg.errors import UserError
from rtseg.tasks.instances.mask_rcnn import InstanceNetwork, create_network, list_networks
from rtseg.tasks.instances.weights import load_weights

SMALL: dict[str, Any] = {
    "channels": 16, "sizes": (64,), "proposals": 20, "rpn_samples": 16, "roi_samples": 8,
    "anchors": (8, 16, 32, 48, 64),
}  # fmt: skip
LEVELS = ("fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5", "fpn.p6")
PLACES = ("layer1", "layer2", "layer3", "layer4", *LEVELS)
DEFAULT = ("fpn.p6",)  # places that every run of the tests looks at
FA = "fa:basis=8:heads=1"


def small(insert: dict[str, Any] | None = None, num_classes: int = 3, **options: Any) -> InstanceNetwork:
    torch.manual_seed(0)
    return create_network("mask_rcnn_resnet18", num_classes, insert=insert, **SMALL | options)


def images() -> list[Tensor]:
    numbers = torch.Generator().manual_seed(1)
    return [torch.rand(3, 64, 80, generator=numbers), torch.rand(3, 70, 64, generator=numbers)]


def targets() -> list[dict[str, Tensor]]:
    masks = torch.zeros(2, 64, 80, dtype=torch.uint8)
    masks[0, 10:30, 12:44] = masks[1, 30:60, 50:70] = 1
    boxes = torch.tensor([[12.0, 10, 44, 30], [50, 30, 70, 60]])
    found = {"boxes": boxes, "labels": torch.tensor([1, 3]), "masks": masks}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": masks[:0, :, :64]}
    return [found, {**empty, "masks": torch.zeros(0, 70, 64, dtype=torch.uint8)}]


def evaluated(network: MaskRCNN) -> list[Tensor]:
    with torch.no_grad():
        maps = list(network.eval().backbone(torch.stack([images()[0]] * 2)).values())
        return [*maps, *(value for found in network(images()) for value in found.values())]


def losses(network: MaskRCNN) -> dict[str, Tensor]:
    torch.manual_seed(2)  # of the boxes that are sampled
    return network.train()(images(), targets())


@pytest.mark.slow
def test_the_default_is_torchvisions_own() -> None:
    theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, min_size=96)
    ours = create_network("mask_rcnn_resnet50", 90, norm="batch", trainable=5, sizes=(96,))
    ours.network.load_state_dict(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(evaluated(ours.network), evaluated(theirs), strict=True))
    frozen = create_network("mask_rcnn_resnet50", 90).network
    learnt = sum(p.requires_grad for p in frozen.parameters())
    assert learnt == 95 - 11, "the stem and the first stage are not trained"


def test_names_of_entries_are_torchvisions() -> None:
    with torch.device("meta"):
        theirs = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
        ours = create_network("mask_rcnn_resnet50", 90, norm="batch").network.state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", list_networks())
def test_every_body_equals_itself_at_its_start_with_attention_everywhere(name: str) -> None:
    plain = create_network(name, 3, **SMALL)
    inserted = create_network(name, 3, insert={"layer*": "fa", "fpn.*": "fa:basis=8"}, **SMALL)
    inserted.network.load_state_dict(plain.network.state_dict(), strict=False)
    assert all(torch.equal(a, b) for a, b in zip(evaluated(plain.network), evaluated(inserted.network), strict=True))


def test_at_its_start_it_equals_the_original_in_evaluation_and_training() -> None:
    plain, inserted = small(), small({"layer*": FA, "fpn.*": [FA, "sa"]})
    found = load_state(inserted, plain)
    assert found == inserted.entries(PLACES)
    assert all(torch.equal(a, b) for a, b in zip(evaluated(plain.network), evaluated(inserted.network), strict=True))
    first, second = losses(plain.network), losses(inserted.network)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def load_state(network: InstanceNetwork, other: InstanceNetwork) -> set[str]:
    """Returns the entries that the other network does not have."""
    result = network.network.load_state_dict(other.network.state_dict(), strict=False)
    assert not result.unexpected_keys
    return set(result.missing_keys)


@pytest.mark.parametrize("place", [p if p in DEFAULT else pytest.param(p, marks=pytest.mark.slow) for p in PLACES])
def test_both_of_two_insertions_act_and_nothing_else_changes(place: str) -> None:
    plain, network = small(), small({place: [FA, FA]})
    load_state(network, plain)
    levels = dict(network.network.named_modules())
    (both,) = (module for module in levels.values() if isinstance(module, Inserted))
    outputs = [evaluated(network.network)[:5]]
    for attention in both:
        torch.nn.init.normal_(attention.project.weight)  # type: ignore[union-attr, arg-type]
        outputs.append(evaluated(network.network)[:5])
    changed = [sum(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(outputs)]
    assert all(changed)
    if place in LEVELS:  # P6 is made of P5
        assert set(changed) == {2 if place == "fpn.p5" else 1}


def test_places_are_listed_with_their_widths_also_after_insertion() -> None:
    network = small({"layer3": FA})
    found = list_places(network.network)
    assert tuple(found) == PLACES
    assert found["layer3"].info == (256, 16)
    assert found["fpn.p6"].info == (16, 64)


@pytest.mark.parametrize(
    ("insert", "message"),
    [
        ({"layer5": "fa"}, r"unknown place 'layer5'.*Did you mean 'layer4'.*fpn\.p6, layer1"),
        ({"layer3": "ca"}, "reads a second map"),
        ({"layer3": "fb"}, "unknown attention 'fb'"),
        ({"fpn.p2": "fa:heads=5"}, r"insert fpn\.p2=fa:heads=5 \(16 channels\)"),
    ],
)
def test_bad_insertions_are_refused(insert: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(insert)


def test_bad_names_and_options_are_refused() -> None:
    for name, options, message in (
        ("mask_rcnn_resnet5", {}, "Did you mean 'mask_rcnn_resnet50'"),
        ("mask_rcnn_resnet18", {"chanels": 1}, "has no option 'chanels'"),
        ("mask_rcnn_resnet18", {"anchors": (1, 2)}, "needs 5 sides"),
        ("mask_rcnn_resnet18", {"sizes": ()}, "one or more"),
        ("mask_rcnn_resnet18", {"trainable": 6}, "from 0 to 5"),
        ("mask_rcnn_resnet18", {"norm": "none"}, "one of frozen, batch"),
    ):
        with pytest.raises(UserError, match=message):
            create_network(name, 3, **options)


def test_weights_report_exactly_the_inserted_entries(tmp_path: Path) -> None:
    torch.save(small().network.state_dict(), tmp_path / "own.pth")
    network = small({"layer3": FA, "fpn.p6": FA})
    loaded = load_weights(network, str(tmp_path / "own.pth"))
    assert loaded.fresh == loaded.inserted == network.entries(["layer3", "fpn.p6"])
    assert loaded.loaded == len(network.network.state_dict()) - len(loaded.fresh)
    assert "8 inserted entries are initialised" in "\n".join(loaded.lines())


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["frozen", "batch"])
def test_a_classifier_of_torchvision_fills_the_body(norm: str, tmp_path: Path) -> None:
    theirs = resnet18().state_dict()
    torch.save(theirs, tmp_path / "r18.pth")
    network = small({"layer4": FA}, norm=norm)
    loaded = load_weights(network, str(tmp_path / "r18.pth"))
    assert {key.split(".")[1] for key in loaded.fresh if key.startswith("backbone.")} == {"fpn", "body"}
    assert loaded.inserted == network.entries(["layer4"])
    assert torch.equal(
        network.network.state_dict()["backbone.body.layer2.1.conv1.weight"], theirs["layer2.1.conv1.weight"]
    )
    torch.save(resnet34().state_dict(), tmp_path / "r34.pth")
    with pytest.raises(UserError, match="are not those of mask_rcnn_resnet18"):
        load_weights(network, str(tmp_path / "r34.pth"))


@pytest.mark.slow
def test_other_classes_start_the_last_layers_anew(tmp_path: Path) -> None:
    torch.save({"model": small(num_classes=5).network.state_dict()}, tmp_path / "own.pth")
    loaded = load_weights(small(), str(tmp_path / "own.pth"))
    assert len(loaded.fresh) == 6
    assert not loaded.inserted
    assert "6 other entries are initialised: roi_heads.box_predictor.bbox_pred" in "\n".join(loaded.lines())


@pytest.mark.slow
def test_old_names_of_torchvision_are_known(tmp_path: Path) -> None:
    state = small().network.state_dict()
    for k in range(4):
        for kind in ("weight", "bias"):
            for blocks in ("inner", "layer"):
                name = f"backbone.fpn.{blocks}_blocks.{k}"
                state[f"{name}.{kind}"] = state.pop(f"{name}.0.{kind}")
            state[f"roi_heads.mask_head.mask_fcn{k + 1}.{kind}"] = state.pop(f"roi_heads.mask_head.{k}.0.{kind}")
    for kind in ("weight", "bias"):
        state[f"rpn.head.conv.{kind}"] = state.pop(f"rpn.head.conv.0.0.{kind}")
    torch.save(state, tmp_path / "old.pth")
    assert not load_weights(small(), str(tmp_path / "old.pth")).fresh


@pytest.mark.slow
def test_bad_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1], tmp_path / "list.pth")
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    state = small().network.state_dict()
    state["rpn.head.cls_logits.bias"][0] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    for name, message in (
        ("lost.pth", "there is no file"),
        ("text.pth", "is damaged, or holds more than weights"),
        ("list.pth", "does not hold weights by name"),
        ("other.pth", "holds neither a ResNet of torchvision nor a Mask R-CNN"),
        ("nan.pth", "hold NaN or infinity"),
    ):
        with pytest.raises(UserError, match=message):
            load_weights(small(), str(tmp_path / name))
    with pytest.raises(UserError, match="coco weights of mask_rcnn_resnet50 alone"):
        load_weights(small(), "coco")
