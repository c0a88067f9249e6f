"""PSMNet of any size, with attention inserted; what it refuses."""

import pytest
import torch
from torch import Tensor, nn

from rtseg.attention.insertion import list_places
from rtseg.errors import UserError
from rtseg.tasks.stereo.psmnet import PSMNet

FA = "fa:basis=16:heads=1"


def pair(height: int = 32, width: int = 48) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    left, right = torch.randn(2, 1, 3, height, width, generator=generator)
    return left, right


def build(insert: dict[str, str | list[str]] | None = None, **options: bool) -> PSMNet:
    torch.manual_seed(0)
    return PSMNet(16, insert, **options).eval()


@pytest.fixture(scope="module")
def plain() -> PSMNet:
    return build()


@torch.no_grad()
def test_disparities_have_the_images_size(plain: PSMNet) -> None:
    for size in ((32, 48), (37, 53)):
        disparity = plain(*pair(*size))
        assert disparity.shape == (1, *size)
        assert disparity.min() >= 0
        assert disparity.max() <= 15


@torch.no_grad()
def test_padding_is_at_the_top_and_at_the_right(plain: PSMNet) -> None:
    padded = (nn.functional.pad(image, (0, 11, 11, 0)) for image in pair(37, 53))
    assert torch.equal(plain(*pair(37, 53)), plain(*padded)[:, 11:, :53])


@torch.no_grad()
def test_align_corners_changes_what_is_upsampled(plain: PSMNet) -> None:
    other = build(align_corners=True)
    other.load_state_dict(plain.state_dict())
    assert not torch.allclose(other(*pair()), plain(*pair()))


def test_the_volume_holds_shifted_features(plain: PSMNet) -> None:
    left, right = torch.randn(2, 1, 32, 2, 3)
    volume = plain._volume(left, right)
    assert volume.shape == (1, 64, 4, 2, 3)
    for shift in range(4):
        assert torch.equal(volume[:, :32, shift, :, shift:], left[..., shift:])
        assert torch.equal(volume[:, 32:, shift, :, shift:], right[..., : max(3 - shift, 0)])
        assert not volume[:, :, shift, :, :shift].any()


@torch.no_grad()
def test_under_autocast_disparities_are_not_rounded() -> None:
    left, right = (image.repeat(2, 1, 1, 1) for image in pair())
    with torch.autocast("cpu", torch.bfloat16):
        disparity = build().train()(left, right)[2]
    assert disparity.dtype == torch.float32
    assert (disparity != disparity.bfloat16().float()).float().mean() > 0.5


def test_one_small_pair_alone_is_not_trained_on() -> None:
    with pytest.raises(UserError, match=r"one pair of 32x48 .* alone"):
        build().train()(*pair())


@torch.no_grad()
@pytest.mark.parametrize(("max_disparity", "kind"), [(32, torch.float32), (48, torch.bfloat16)])
def test_a_volume_of_two_depths_is_not_in_bfloat16_on_a_cpu(max_disparity: int, kind: torch.dtype) -> None:
    network, kinds = PSMNet(max_disparity).eval(), []
    network.reduce.register_forward_hook(lambda module, given, found: kinds.append(found.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        network(*pair())
    assert kinds == [kind]


def test_training_gives_three_maps() -> None:
    left, right = (image.repeat(2, 1, 1, 1) for image in pair())
    assert [output.shape for output in build().train()(left, right)] == [(2, 32, 48)] * 3


@torch.no_grad()
def test_inserted_attention_changes_nothing_at_first(plain: PSMNet) -> None:
    places = [*list_places(plain)]
    network = build({place: [FA, "nl:heads=1"] for place in places})
    added = network.state_dict().keys() - plain.state_dict().keys()
    assert all(key.startswith("features.inserted.") for key in added)
    network.load_state_dict(plain.state_dict(), strict=False)
    before = plain.features(pair()[0])
    assert torch.equal(network.features(pair()[0]), before)
    for place in places:
        for attention in network.features.inserted[place].children():
            nn.init.ones_(attention.get_parameter("project.weight"))
            after = network.features(pair()[0])
            assert not torch.allclose(after, before), "each of a row acts"
            before = after


def test_places_are_those_of_the_features(plain: PSMNet) -> None:
    assert [*list_places(plain)] == ["layer1", "layer2", "layer3", "layer4", "features"]
    with pytest.raises(UserError, match="layer4"):
        PSMNet(16, {"layer5": "fa"})
    with pytest.raises(UserError, match="second map"):
        PSMNet(16, {"layer4": "ca"})


def test_weights_of_the_authors(plain: PSMNet) -> None:
    renamed = {
        "features.stem.1.0.": "module.feature_extraction.firstconv.2.",
        "features.layer2.0.shortcut.": "module.feature_extraction.layer2.0.downsample.",
        "features.layer2.0.conv1.": "module.feature_extraction.layer2.0.conv1.0.",
        "classifiers.2.1.weight": "module.classif3.2.weight",
    }
    state = plain.state_dict()
    theirs = {
        next((new + key[len(old) :] for old, new in renamed.items() if key.startswith(old)), key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")  # which PyTorch 0.4 did not have
    }
    network = build({"layer4": FA})
    nn.init.zeros_(network.get_parameter("classifiers.2.1.weight"))
    left = network.load_authors_state(theirs)
    assert sorted(left) == sorted(key for key in network.state_dict() if ".inserted." in key)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())


def test_other_weights_are_refused(plain: PSMNet) -> None:
    state = dict(plain.state_dict())
    with pytest.raises(UserError, match=r"2 entries are unknown, such as 'dres9\.weight'"):
        build().load_authors_state({**state, "dres9.weight": torch.ones(1), "x": torch.ones(1)})
    with pytest.raises(UserError, match=r"\d+ entries are missing, such as"):
        build().load_authors_state({"classif1.2.weight": torch.ones(1)})
    with pytest.raises(UserError, match="hold NaN"):
        build().load_authors_state({**state, "classifiers.2.1.weight": torch.full((1, 32, 3, 3, 3), torch.nan)})


def test_pairs_of_two_sizes_are_refused(plain: PSMNet) -> None:
    with pytest.raises(UserError, match="1x3x32x48, right ones 1x3x32x64"):
        plain(pair()[0], pair(32, 64)[1])
    with pytest.raises(UserError, match="a multiple of 16, such as 16 or 32"):
        PSMNet(20)
