"""What the transfer check says of its scores, what it refuses, and, slowly, a whole one."""

import json
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np
import pytest
import yaml

from pretrain.transfer_check import Transfer, transfer_check
from rtseg.errors import UserError
from rtseg.models.backbone import create_backbone
from rtseg.models.backbone_folder import save_backbone
from rtseg.models.model_card import ModelCard

OPTIONS: dict[str, Any] = {"base_channels": 8, "drop_path": 0.0, "injection": (True, True)}


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `export` writes it."""
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    network = create_backbone("rtformer_slim", **OPTIONS)
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()}
    save_backbone(folder, ModelCard("rtformer_slim", "gfa+ca", 10, OPTIONS, part="backbone"), state)
    return folder


@pytest.fixture
def arguments(tmp_path: Path, tiny_camvid: Path) -> dict[str, Any]:
    """Of a check that takes seconds a training."""
    settings = {
        "model": {"options": {"head_channels": 8, "spp_channels": 8}, "optim": {"warmup_steps": 1}},
        "data": {"dataset": "camvid", "batch_size": 4, "crop_size": [32, 48], "num_workers": 0},
        "trainer": {"accelerator": "cpu"},
    }
    config = tmp_path / "tiny.yaml"
    config.write_text(yaml.safe_dump(settings))
    return {"config": config, "data": tiny_camvid, "epochs": 1, "seeds": 2, "jobs": 2, "flags": []}


def test_gains_are_of_equal_seeds() -> None:
    transfer = Transfer({0: 0.40, 1: 0.50, 2: 0.45}, {2: 0.50, 0: 0.46, 1: 0.53, 7: 0.9})
    assert transfer.gains() == pytest.approx([0.06, 0.03, 0.05])
    assert transfer.noise() == pytest.approx(stdev([0.06, 0.03, 0.05]) / 3**0.5)
    assert "+0.0467 mIoU, standard error 0.0088, beyond chance from 0.0379 on: it helps" in transfer.verdict()


@pytest.mark.parametrize("seeds", [2, 3, 4, 9, 12])
def test_chance_alone_is_seldom_taken_for_an_effect(seeds: int) -> None:
    """One time in twenty, however few seeds."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(2000):
        scratch, pretrained = rng.normal(0.5, 0.01, (2, seeds))
        verdict = Transfer(dict(enumerate(scratch)), dict(enumerate(pretrained))).verdict()
        claims += "no difference" not in verdict
    assert claims / 2000 == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("scratch", "pretrained", "says"),
    [
        ({0: 0.5, 1: 0.5}, {0: 0.6, 1: 0.41}, "no difference is shown"),
        ({0: 0.5, 1: 0.5, 2: 0.5}, {0: 0.41, 1: 0.4, 2: 0.41}, "it hurts"),
        ({0: 0.5}, {0: 0.6}, "noise is unknown: take --seeds 4"),
        ({0: 0.5}, {1: 0.6}, "no seed has both"),
    ],
)
def test_what_is_not_shown_is_not_claimed(scratch: dict[int, float], pretrained: dict[int, float], says: str) -> None:
    assert says in Transfer(scratch, pretrained).verdict()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seeds": 0}, "--seeds 0 must be at least 1"),
        ({"jobs": 0}, "--jobs 0 must be at least 1"),
        ({"epochs": 0}, "--epochs 0 must be at least 1"),
        ({"config": Path("/nowhere.yaml")}, "--config: /nowhere.yaml: No such file"),
        ({"data": Path("/nowhere")}, "--data /nowhere: no such folder"),
        ({"flags": ["--model.name=sa"]}, "'--model.name' is set by the comparison itself"),
    ],
)
def test_bad_input(
    arguments: dict[str, Any], backbone: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        transfer_check(backbone, tmp_path / "out", **{**arguments, **change})
    assert not (tmp_path / "out").exists()


def test_no_backbone(arguments: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere' does not exist"):
        transfer_check(tmp_path / "nowhere", tmp_path / "out", **arguments)


@pytest.mark.slow
def test_a_whole_check(
    arguments: dict[str, Any], backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    transfer = transfer_check(backbone, output, **arguments)
    assert transfer.scratch.keys() == transfer.pretrained.keys() == {0, 1}
    written = json.loads((output / "transfer.json").read_text())
    assert written["gains"] == transfer.gains()
    printed = capsys.readouterr().out
    assert "Pre-training: " in printed
    for arm, loads in (("scratch", False), ("pretrained", True)):
        for log in output.glob(f"{arm}/*_seed*/train.log"):
            assert ("Weights of a backbone" in log.read_text()) == loads
    assert len(list(output.glob("*/*_seed*/finished.json"))) == 4
    transfer_check(backbone, output, **arguments)  # nothing is trained again
    assert len((output / "scratch").glob("*/train.log").__next__().read_text().split("$ rtseg ")) == 2
