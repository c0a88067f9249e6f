"""Networks of timm as backbones: the same maps as timm's own, attention behind stages, weights, folding."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from rtseg.attention.insertion import list_places
from rtseg.cli import main
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model, list_families, list_models
from rtseg.models.backbone import create_backbone, is_model
from rtseg.registry import UnknownNameError
from rtseg.training.pretrained import load_pretrained
from tests.helpers.command import exit_status
from tests.helpers.folding import unfolded
from tests.helpers.segmenters import randomise_statistics

NARROW: dict[str, Any] = {"fpn_channels": 8, "head_channels": 8}
FA = "fa:heads=1:basis=4"
# Tiny networks, which timm has for tests; and real ones of all kinds.
FAST = {
    "timm:test_convnext": ["stages_0", "stages_1", "stages_2", "stages_3"],
    "timm:test_efficientnet": ["blocks_0", "blocks_1", "blocks_2", "blocks_3", "blocks_4"],
    "timm:test_resnet": ["act1", "layer1", "layer2", "layer3", "layer4"],
}
LONG = (
    "resnet18", "convnext_atto", "convnext_tiny", "mobilenetv3_small_050",
    "efficientnet_b0", "regnety_002", "regnetx_002", "resnet50", "resnext50_32x4d", "densenet121",
    "hrnet_w18_small", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224", "mambaout_femto", "xception41",
    "mobilenetv3_large_100", "dla34", "fastvit_t8", "ghostnet_050",
)  # fmt: skip

# Its first map is that of a convolution before its norm. This head does not read it, but another may.
NOT_FOLDED = {"timm:ghostnet_050": ["backbone.body.bn1"]}


def narrow(name: str, insert: Any = None) -> Segmenter:
    torch.manual_seed(0)
    return create_model(name, 5, insert=insert, **NARROW)


def check_family(name: str) -> None:
    """Places, exact start, any size, folding."""
    image = torch.rand(2, 3, 33, 64, generator=torch.Generator().manual_seed(2))
    plain, inserted = narrow(name), narrow(name, {"*": FA})
    assert list(inserted.card.insert) == list(list_places(plain)) != []
    own = plain.state_dict()
    assert all(torch.equal(value, own[key]) for key, value in inserted.state_dict().items() if key in own)
    with torch.no_grad():
        for train in (False, True):
            results = []
            for network in (plain, inserted):
                torch.manual_seed(1)  # of what is dropped
                results.append(network.train(train).logits(image))
            assert torch.equal(*results), f"training: {train}"
        randomise_statistics(plain)
        folded, unfolded_form = deploy(plain), deploy(plain, fold=False)
        expected = unfolded_form.logits(image)
        assert unfolded(folded, image) == NOT_FOLDED.get(name, [])
        assert (folded.logits(image) - expected).abs().max() <= 1e-4 * expected.abs().max()
    for size in ((1, 1), (63, 40)):
        assert plain.eval()(torch.zeros(1, 3, *size)).shape == (1, 5, *size)


@pytest.mark.parametrize("name", FAST)
def test_an_inserted_network_equals_the_original_until_it_learns(name: str) -> None:
    check_family(name)
    backbone = create_backbone(name)
    assert list(backbone.places) == list(backbone.features) == FAST[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_other_families_keep_the_same_contract(name: str) -> None:
    check_family(f"timm:{name}")


@torch.no_grad()
def test_the_maps_are_timms_own() -> None:
    theirs = timm.create_model("resnet18", features_only=True).eval()
    backbone: Any = create_backbone("timm:resnet18").eval()
    backbone.body.load_state_dict(theirs.state_dict())  # no entry has another name
    image = torch.rand(1, 3, 50, 70)
    assert all(torch.equal(a, b) for a, b in zip(backbone(image).values(), theirs(image), strict=True))
    assert [tuple(info) for info in backbone.features.values()] == [(64, 2), (64, 4), (128, 8), (256, 16), (512, 32)]


@torch.no_grad()
def test_what_stands_behind_a_stage_acts_on_all_later_ones() -> None:
    network = narrow("timm:resnet18", {"layer3": FA}).eval()
    image = torch.rand(1, 3, 64, 64)
    before = network.backbone(image)
    for parameter in network.backbone.inserted.parameters():
        torch.nn.init.normal_(parameter)
    after = network.backbone(image)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["layer3", "layer4"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:hrnet_w18_small"])
def test_what_stands_at_each_place_of_maps_that_come_at_once_acts(name: str) -> None:
    network, image = narrow(name, {"*": FA}).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for place in list_places(network).values():
            before = network.logits(image)
            for parameter in place.owner.inserted[place.key].parameters():
                parameter.normal_()
            assert not torch.equal(network.logits(image), before), place.key


def test_batchnorm_with_its_activation_folds_too() -> None:
    network = narrow("timm:test_efficientnet", {"blocks_1": FA})
    before = count_batchnorm(network)
    assert (count_batchnorm(deploy(network, fold=False)), count_batchnorm(deploy(network))) == (before, 0)
    assert count_batchnorm(network) == before > 0  # the original stays


def test_the_card_names_the_network_and_timms_normalisation(tmp_path: Path) -> None:
    network = narrow("timm:test_resnet", {"layer3": FA})
    config = timm.get_pretrained_cfg("test_resnet", allow_unregistered=False)
    assert config is not None
    assert (network.card.model, network.card.head, network.card.attention) == (
        "timm:test_resnet", "semantic_fpn", "none",
    )  # fmt: skip
    assert (network.card.mean, network.card.std) == (config.mean, config.std) != ((0.485, 0.456, 0.406), None)
    network.save_pretrained(tmp_path / "net")
    again = Segmenter.from_pretrained(tmp_path / "net")
    assert again.card == network.card
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(again(image), network.eval()(image))


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """As timm publishes them: with a classifier."""
    torch.manual_seed(3)
    return timm.create_model("resnet18").state_dict()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_timms_weights_load_from_a_file(suffix: str, published: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / f"resnet18.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": published, "epoch": 3}, file)
    else:
        save_file(published, file)
    network = narrow("timm:resnet18", {"layer4": FA})
    fresh = [key for key in network.state_dict() if ".inserted." in key]
    lines = load_pretrained(network, str(file))
    assert lines == [
        f"Weights of the backbone from {file}: 120 of {120 + len(fresh)} entries; the heads are initialised.",
        f"{len(fresh)} inserted entries are initialised: {', '.join(fresh)}.",
        "2 entries of the weights are left out: fc.bias, fc.weight.",
    ]
    body = network.backbone.state_dict()
    assert all(torch.equal(body[f"body.{key}"], value) for key, value in published.items() if not key.startswith("fc"))


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_vit"])
def test_weights_of_opened_sequences_find_their_place(name: str, tmp_path: Path) -> None:
    theirs: Any = timm.create_model(name)
    save_file(theirs.state_dict(), tmp_path / "its.safetensors")
    network = narrow(f"timm:{name}")
    load_pretrained(network, str(tmp_path / "its.safetensors"))
    backbone: Any = network.backbone.eval()
    size = 160 if name == "test_vit" else 64
    image = torch.rand(1, 3, size, size)
    with torch.no_grad():
        kept = theirs.eval().forward_intermediates(image, intermediates_only=True)[-1]
        assert torch.allclose(list(backbone(image).values())[-1], kept, atol=1e-5)


def test_weights_that_are_of_another_network_or_damaged(published: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(published, tmp_path / "resnet18.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "resnet18.safetensors").read_bytes()[:1000])
    (tmp_path / "cut.pth").write_bytes(b"none")
    torch.save([1, 2], tmp_path / "list.pth")
    small: dict[str, Tensor] = timm.create_model("test_resnet").state_dict()
    save_file({**small, "layer3.9.conv1.weight": torch.ones(1)}, tmp_path / "deeper.safetensors")
    says = {
        "deeper.safetensors": "are not those of 'timm:test_resnet': they have 1 entries too many in its stages, "
        "such as layer3.9.conv1.weight",
        "resnet18.safetensors": "are not those of 'timm:test_resnet'",
        "cut.safetensors": "is damaged or not a safetensors file",
        "cut.pth": "is damaged, or holds more than weights",
        "list.pth": "does not hold weights by name",
    }
    network = narrow("timm:test_resnet")
    for name, words in says.items():
        with pytest.raises(UserError, match=words):
            load_pretrained(network, str(tmp_path / name))


def test_families_are_not_listed_one_by_one() -> None:
    assert not any(":" in name for name in list_models())
    assert list_families() == ["timm:NAME, any network of timm that gives feature maps, as timm:resnet18"]
    assert is_model("timm:resnet18")
    assert not is_model("other:resnet18")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("timm:resnet51", "unknown model 'timm:resnet51': timm .* has no 'resnet51'. Did you mean .*timm:resnet50"),
        ("timm:hf-hub:some/where", "has no 'hf-hub:some/where'"),
        ("timm:resnet18.best", "timm has no weights 'best' of resnet18. Known: timm:resnet18.a1_in1k"),
        ("resnet50", "unknown model 'resnet50'.* Or timm:NAME, any network of timm"),
    ],
)
def test_names_that_nobody_has(name: str, says: str) -> None:
    with pytest.raises(UnknownNameError, match=says):
        create_model(name, 5)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("timm:inception_v3", "its maps are not as large as its strides say", marks=pytest.mark.slow),
        pytest.param("timm:nasnetalarge", "timm reads its maps by hooks", marks=pytest.mark.slow),
    ],
)
def test_networks_without_maps_of_any_size(name: str, says: str) -> None:
    with pytest.raises(UserError, match=f"gives no feature maps of images of any size .{says}"):
        create_model(name, 5)


def test_an_unknown_place_is_answered_with_all() -> None:
    with pytest.raises(UserError, match=r"unknown place 'layer5'. Did you mean 'layer.'. Known: act1, fpn.p2, fpn.p3"):
        create_model("timm:resnet18", 5, insert={"layer5": "fa"})


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["onnx", "xml", "mnn", "pt2"])
@pytest.mark.parametrize("name", ["timm:resnet18", "timm:convnext_atto", "timm:efficientnet_b0"])
def test_it_exports_to_every_format(name: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"fpn.*": FA, list(create_backbone(name).places)[-2]: FA}
    narrow(name, places).save_pretrained(tmp_path / "net")
    arguments = ["export", tmp_path / "net", "-o", tmp_path / f"net.{suffix}", "--input-size", 64, 96]
    assert exit_status(main, *map(str, arguments)) == 0, capsys.readouterr().err
    assert "Proof:" in capsys.readouterr().out  # the file was compared with PyTorch


@pytest.mark.slow
def test_a_padded_network_exports_with_open_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ONNX rounds a division of negative numbers otherwise than Python."""
    narrow("timm:test_convnext").save_pretrained(tmp_path / "net")
    arguments = ["export", tmp_path / "net", "-o", tmp_path / "net.onnx", "--open-size"]
    assert exit_status(main, *map(str, arguments)) == 0, capsys.readouterr().err
