"""Checkpoints of PSMNet's authors become folders; what is none is refused."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from rtseg.cli import main
from rtseg.tasks.stereo.weights import load_network
from tests.helpers.command import check_refused, exit_status
from tests.helpers.psmnet import authors_state

run = partial(exit_status, main)


@pytest.mark.slow
@pytest.mark.parametrize("zipped", [True, False])
def test_the_authors_file_becomes_a_folder(zipped: bool, shared: Path, tmp_path: Path) -> None:
    state = authors_state(json.loads((shared / "golden/psmnet.json").read_text())["state_shapes"])
    content = {"epoch": 10, "train_loss": 0.5, "state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(content, tmp_path / "finetune.tar", _use_new_zipfile_serialization=zipped)
    folder = tmp_path / "folder"
    assert (
        run("convert", "--model", "psmnet", str(tmp_path / "finetune.tar"), "-o", str(folder), "--align-corners") == 0
    )
    network, card = load_network(folder)
    assert (card.part, card.num_classes, network.align_corners) == ("stereo", 192, True)
    assert torch.equal(network.state_dict()["classifiers.2.1.weight"], state["classif3.2.weight"])


class Hostile:
    """Would run a program where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return print, ("it ran",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, "entries are missing"),
        ({"state_dict": Hostile()}, "holds more than weights, which is refused"),
        ([1], "does not hold weights by name"),
    ],
)
def test_other_files_are_refused(
    content: object, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(content, tmp_path / "other.tar")
    status = run("convert", "--model", "psmnet", str(tmp_path / "other.tar"), "-o", str(tmp_path / "new"))
    check_refused(status, says, capsys)
    assert not (tmp_path / "new").exists()


def test_align_corners_is_psmnets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.pdparams").touch()
    status = run("convert", str(tmp_path / "model.pdparams"), "-o", str(tmp_path / "new"), "--align-corners")
    check_refused(status, "--align-corners is of psmnet", capsys)
