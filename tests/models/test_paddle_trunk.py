"""A trunk of PaddleSeg's that was pre-trained on ImageNet becomes a backbone."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from rtseg.cli import main
from rtseg.errors import UserError
from rtseg.models import Segmenter, create_model
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.paddle import convert_trunk, holds_trunk
from rtseg.models.paddle_names import to_state_dict
from rtseg.models.pdparams import read_pdparams
from rtseg.models.weights import misfits, read_weights
from rtseg.training.pretrained import load_pretrained
from tests.helpers.paddle import trunk_params, write


@pytest.mark.parametrize("injects", [True, False])
def test_a_trunk_alone_becomes_a_backbone_that_trainings_load(injects: bool, golden: Path, tmp_path: Path) -> None:
    params = trunk_params(golden, injects=injects)
    path = write(tmp_path / "backbone.pdparams", params)
    assert holds_trunk(path)
    with warnings.catch_warnings(action="error"):
        card, state = convert_trunk(path, "rtformer_slim")
    assert (card.part, card.model, card.attention, card.num_classes) == ("backbone", "rtformer_slim", "gfa+ca", 1000)
    assert card.options == {"injection": (True, injects)}
    assert card.source == "PaddleSeg, backbone.pdparams"
    save_backbone(tmp_path / "net", card, state)
    card, state = read_weights(tmp_path / "net", parts=("backbone",))
    loaded = to_state_dict(params)
    assert state.keys() == loaded.keys()
    # Both variants of a segmentation network take it, whichever it is of.
    for own in (True, False):
        segmenter = create_model("rtformer_slim", 5, injection=(True, own))
        load_pretrained(segmenter, str(tmp_path / "net"))
        for key, value in segmenter.state_dict().items():
            if key in loaded:
                assert torch.equal(value, loaded[key]), key


def test_what_is_no_part_of_the_trunk_is_counted_and_named(golden: Path, tmp_path: Path) -> None:
    rest = {"fc.weight": np.zeros((1000, 512), np.float32), "layer6.bn._mean": np.zeros(8, np.float32)}
    path = write(tmp_path / "backbone.pdparams", {**trunk_params(golden), **rest})
    with pytest.warns(UserWarning, match=r"^2 entries of '.*backbone\.pdparams' .*: fc\.weight, layer6\.bn\._mean$"):
        _, state = convert_trunk(path, "rtformer_slim")
    assert state.keys() == to_state_dict(trunk_params(golden)).keys()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("layer2.0.conv1.weight", r"1 missing \(backbone\.stage2\.0\.conv1\.weight\)"),
        ("layer5.down.0.bias", r"1 missing \(backbone\.block5\.high_to_low\.0\.0\.bias\)"),
        ("layer4.attn_l.k", r"1 missing \(backbone\.block4\.low_attention\.keys\.weight\)"),
        ("layer1.0.bn1._mean", r"2 missing \(backbone\.stage1\.0\.bn1\.num_batches_tracked, .*running_mean\)"),
        ("conv1.0.weight", "does not contain an RTFormer"),
    ],
)
def test_a_trunk_with_a_gap_is_refused(lost: str, message: str, golden: Path, tmp_path: Path) -> None:
    params = trunk_params(golden)
    del params[lost]
    with pytest.raises(UserError, match=message):
        convert_trunk(write(tmp_path / "backbone.pdparams", params), "rtformer_slim")


def test_the_command_makes_a_backbone_of_a_trunk(
    golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "backbone.pdparams", trunk_params(golden))
    arguments = ["convert", str(path), "-o", str(tmp_path / "net")]
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    command = (
        "rtseg fit --config CONFIG --model.name=rtformer_slim --model.attention=gfa+ca "
        "--model.options.injection=[true,true] --model.weights="
    )
    assert f"{command}{tmp_path / 'net'}" in capsys.readouterr().out
    assert "1000 classes" in (tmp_path / "net" / "README.md").read_text()
    assert "the heads are initialised" in load_pretrained(create_model("rtformer_slim", 5), str(tmp_path / "net"))[0]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--overwrite" in capsys.readouterr().err


def test_the_golden_trunk_of_paddle_finds_its_place(tiny: Segmenter, tiny_pdparams: Path) -> None:
    """Names as `paddle.save` wrote them; the tiny network has other widths than a published one."""
    params = read_pdparams(tiny_pdparams)
    trunk = {key: value for key, value in params.items() if not key.startswith(("seghead", "spp."))}
    own = {key: value for key, value in tiny.state_dict().items() if key.startswith("backbone.")}
    assert not misfits(own, to_state_dict(trunk))
