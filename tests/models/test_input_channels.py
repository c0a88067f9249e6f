"""Networks for images of any number of channels, and weights of RGB in them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model, list_models
from rtseg.models.backbone import create_backbone
from rtseg.models.input_channels import adapt_weights
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import describe
from rtseg.training.pretrained import load_pretrained
from tests.helpers.segmenters import narrow

TIMM = ["timm:resnet18", "timm:convnext_atto"]


def small(name: str, channels: int | None) -> Segmenter:
    options = {} if name.startswith("timm:") else narrow(name)
    return create_model(name, 5, in_channels=channels, **options).eval()


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.parametrize(
    "name",
    [
        "rtformer_slim",
        *(pytest.param(name, marks=pytest.mark.slow) for name in [*list_models(), *TIMM] if name != "rtformer_slim"),
    ],
)
def test_every_network_takes_any_number_of_channels(name: str, channels: int) -> None:
    with torch.device("meta"):
        segmenter = small(name, channels)
        assert segmenter(torch.zeros(1, channels, 64, 96)).shape == (1, 5, 64, 96)
        with pytest.raises(UserError, match=rf"an image batch is \(B, {channels}, H, W\)"):
            segmenter(torch.zeros(1, 3, 64, 96))
    assert len(segmenter.card.mean) == len(segmenter.card.std) == channels


@pytest.mark.parametrize("name", ["ddrnet_23_slim", pytest.param(TIMM[0], marks=pytest.mark.slow)])
def test_three_channels_are_the_network_for_rgb(name: str) -> None:
    torch.manual_seed(0)
    rgb = small(name, None)
    torch.manual_seed(0)
    three = small(name, 3)
    assert all(torch.equal(a, b) for a, b in zip(rgb.state_dict().values(), three.state_dict().values(), strict=True))
    assert (rgb.card.mean, rgb.card.std) == (three.card.mean, three.card.std)
    assert (rgb.card.channels, three.card.channels) == (None, 3)


@pytest.mark.parametrize("name", ["ddrnet_23_slim", pytest.param(TIMM[0], marks=pytest.mark.slow)])
def test_grey_weights_give_what_rgb_made_of_equal_channels(name: str, tmp_path: Path) -> None:
    rgb, grey = small(name, None), small(name, 1)
    rgb.save_pretrained(tmp_path / "rgb")
    lines = load_pretrained(grey, str(tmp_path / "rgb"))
    assert [line for line in lines if line.startswith("Adapted from RGB to 1 channels, the sum of the colours: ")]
    image = torch.randn(1, 1, 64, 96)
    with torch.inference_mode():
        torch.testing.assert_close(grey(image), rgb(image.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 4, 6, 12])
def test_several_channels_take_the_colours_in_turn(channels: int) -> None:
    options = narrow("ddrnet_23_slim")
    backbone = create_backbone("ddrnet_23_slim", base_channels=options["base_channels"])
    state = {f"backbone.{key}": value.clone() for key, value in backbone.state_dict().items()}
    old = state["backbone.stem.0.weight"]
    backbone.take_channels(channels)
    found, (line,) = adapt_weights(state, backbone, channels)
    new = found["backbone.stem.0.weight"]
    for k in range(channels):
        torch.testing.assert_close(new[:, k], old[:, k % 3] * 3 / channels)
    assert f"to {channels} channels, the colours in turn, times 3/{channels}: backbone.stem.0.weight." in line
    if channels % 3 == 0:  # equal channels then give what RGB gives
        torch.testing.assert_close(new.sum(1), old.sum(1))
    changed = {key for key, value in found.items() if value is not state[key]}
    assert changed == {"backbone.stem.0.weight"}


def test_weights_of_another_number_of_channels_are_refused(tmp_path: Path) -> None:
    small("ddrnet_23_slim", 4).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is for images of 4 channels, and these have 12"):
        load_pretrained(small("ddrnet_23_slim", 12), str(tmp_path))
    assert load_pretrained(small("ddrnet_23_slim", 4), str(tmp_path))


def test_the_card_travels_with_the_weights(tmp_path: Path) -> None:
    segmenter = small("ddrnet_23_slim", 4)
    describe(segmenter, mean=(100.0, 0.1, 0.2, 3000.0), std=(1.0, 0.1, 0.2, 900.0), shown=(3, 1, 0))
    segmenter.save_pretrained(tmp_path)
    assert Segmenter.from_pretrained(tmp_path).card == segmenter.card
    assert "4 channels at full depth" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": 4}, "mean=.* must be 4 numbers"),
        ({"channels": 0}, "channels=0 must be a whole number from 1 to 128"),
        ({"channels": 129}, "channels=129"),
        ({"channels": True}, "channels=True"),
        ({"shown": (0, 1, 3)}, "three channels of 0 to 2"),
        ({"shown": (0, 1)}, "three channels"),
        ({"mean": (0.5,)}, "must be three numbers"),
    ],
)
def test_a_card_that_contradicts_itself(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ModelCard("ddrnet_23_slim", "none", 5, **changes)


@pytest.mark.parametrize("channels", [0, 1.5, True, 10**9])
def test_a_number_of_channels_that_no_image_has(channels: Any) -> None:
    with pytest.raises(UserError, match="in_channels"):
        create_model("ddrnet_23_slim", 5, in_channels=channels)


def test_a_backbone_that_reads_images_otherwise_says_so() -> None:
    backbone = create_backbone("ddrnet_23_slim")
    backbone.twice = nn.Conv2d(3, 8, 1)
    with pytest.raises(UserError, match=r"DDRNet has 2 convolutions of three channels.*override `take_channels`"):
        backbone.take_channels(4)
