"""`rtseg stereo` as its user meets it: train, score, resume to the bit, predict, convert."""

import csv
import re
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from rtseg.cli import main
from rtseg.tasks.stereo.cli import StereoCLI
from rtseg.tasks.stereo.disparity_files import read_disparity
from rtseg.tasks.stereo.predict import StereoPredictor
from rtseg.tasks.stereo.weights import create_network, load_pretrained
from tests.helpers.command import check_refused, exit_status

pytestmark = pytest.mark.slow
run = partial(exit_status, main)


@pytest.fixture(scope="module")
def trained(fit: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of `fit`, never stopped."""
    output = tmp_path_factory.mktemp("trained") / "run"
    assert run(*fit, f"--output={output}") == 0
    return output


def test_a_training_logs_and_keeps_the_lowest_error(trained: Path) -> None:
    with (trained / "metrics.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {f"val/{name}" for name in ("epe", "epe_batch_mean", "error_3px", "d1")} <= rows[0].keys()
    errors = [float(row["val/epe"]) for row in rows if row["val/epe"]]
    assert len(errors) == 2
    best = torch.load(trained / "best.ckpt", weights_only=True)
    scores = [state["best_model_score"] for state in best["callbacks"].values() if "best_model_score" in state]
    assert scores[0] == pytest.approx(min(errors))
    assert best["model_card"]["part"] == "stereo"
    assert best["model_card"]["insert"] == {"layer4": ["fa:basis=16:heads=1"]}


class Cut(L.Callback):
    """Ends the training like a power cut."""

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == 4:
            raise RuntimeError("power cut")


def test_a_cut_training_resumes_to_the_bit(
    trained: Path, fit: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [*fit, f"--output={tmp_path / 'run'}", "--save_every=1"]
    with monkeypatch.context() as patch:
        patch.setattr(StereoCLI, "more_callbacks", lambda self, config: [Cut()])
        with pytest.raises(RuntimeError, match="power cut"):
            run(*flags)
    last = tmp_path / "run" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 4
    assert run(*flags, f"--ckpt_path={last}") == 0
    ours, theirs = (torch.load(file, weights_only=True) for file in (last, trained / "last.ckpt"))
    assert ours["global_step"] == theirs["global_step"] == 6
    for key in ("state_dict", "optimizer_states"):
        one, other = (dict(tensors(content[key])) for content in (ours, theirs))
        assert one.keys() == other.keys()
        assert all(torch.equal(value, other[name]) for name, value in one.items())


def tensors(value: Any, name: str = "") -> Any:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(inner, f"{name}/{key}")


def test_a_step_that_is_not_finite_is_run_again(
    fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = ["--model.optim.lr=1e31", "--model.optim.lr_batch_size=null"]
    check_refused(run(*fit, *rate, f"--output={tmp_path}"), f"`rtseg stereo replay {tmp_path}` shows where", capsys)
    assert run("stereo", "replay", str(tmp_path), "--device=cpu") == 0
    assert "a learning rate of 1e+31 is too large" in capsys.readouterr().out
    check_refused(run("replay", str(tmp_path)), f"look at it with rtseg stereo replay {tmp_path}", capsys)


def test_a_machine_is_chosen_for(fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*fit[:6], "--trainer.max_steps=1", "--trainer.accelerator=cpu", f"--output={tmp_path / 'run'}"]
    assert run(*flags, "--auto", "--trainer.devices=1") == 0
    assert "precision" in capsys.readouterr().out


def test_a_score_has_the_checkpoints_settings(
    trained: Path, pairs: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    scored = ["stereo", "validate", f"--ckpt_path={trained / 'best.ckpt'}", "--trainer.accelerator=cpu"]
    assert run(*scored, f"--data.root={pairs}") == 0
    said = capsys.readouterr().out
    assert "errors of all pixels over their number" in said
    assert "2 pairs to score." in caplog.text
    assert re.search(r"[\d,]+ pixels with a disparity below 16 count\.", caplog.text)
    refused = run(*scored, f"--data.root={pairs}", "--model.max_disparity=32")
    check_refused(refused, "model.max_disparity=32 differs from the checkpoint's 16", capsys)


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--model.insert.layer9=fa", "layer4"),
        ("--model.insert.layer4=ca", "reads a second map"),
        ("--model.insert.layer4=fa:heads=7", "does not divide"),
        ("--model.max_disparity=40", "a multiple of 16"),
        ("--data.dataset=kitti2016", "kitti2015"),
        ("--data.crop_size=[128,48]", "smallest training image has a height of 64"),
    ],
)
def test_wrong_settings_are_refused(
    flag: str, says: str, fit: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused(run(*fit, flag, f"--output={tmp_path / 'run'}"), says, capsys)


def test_predicted_files_hold_the_networks_disparities(
    trained: Path, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = pairs / "FlyingThings3D/frames_cleanpass/TEST/A/0000"
    out, checkpoint = tmp_path / "out", str(trained / "best.ckpt")
    assert run("stereo", "predict", checkpoint, f"{scene}/left", f"{scene}/right", "-o", str(out), "--device=cpu") == 0
    left, right = (cv2.imread(str(scene / side / "0006.png"), cv2.IMREAD_COLOR_RGB) for side in ("left", "right"))
    assert left is not None
    assert right is not None
    expected = StereoPredictor(checkpoint, "cpu")(left, right)
    found = read_disparity(out / "0006.png").values
    np.testing.assert_allclose(found, np.clip(expected, 1 / 256, None), rtol=0, atol=1 / 512 + 1e-6)
    colour = cv2.imread(str(out / "0006_colour.png"))
    assert colour is not None
    assert colour.shape == (64, 96, 3)
    refused = run("stereo", "predict", checkpoint, f"{scene}/left", f"{scene}/right", "-o", str(out))
    check_refused(refused, "is not empty", capsys)
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((32, 96, 3), np.uint8))
    refused = run(
        "stereo", "predict", checkpoint, f"{scene}/left/0006.png", str(tmp_path / "small.png"), "-o", str(out),
        "--overwrite",
    )  # fmt: skip
    check_refused(refused, "the right one 32x96", capsys)
    inside = ("stereo", "predict", checkpoint, f"{scene}/left", f"{scene}/right", "-o", f"{scene}/left", "--overwrite")
    check_refused(run(*inside), "would overwrite the image", capsys)
    check_refused(run("predict", checkpoint, str(scene), "-o", str(tmp_path / "new")), "holds a stereo network", capsys)


def test_a_training_starts_from_weights_without_attention(
    trained: Path, fit: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more = [f"--output={tmp_path / 'run'}", f"--model.weights={trained / 'best.ckpt'}", "--trainer.max_steps=1"]
    assert run(*fit[:-1], "--model.insert.layer3=fa:basis=16:heads=1", *more) == 0
    assert "entries keep their initial values: what is inserted at layer3." in caplog.text
    assert "entries of it are left out: what is inserted at layer4." in caplog.text


def test_what_is_inserted_otherwise_is_left_out(trained: Path) -> None:
    network, _ = create_network(16, {"layer4": "nl:basis=16:heads=1"}, align_corners=False)
    before = network.state_dict()["features.inserted.layer4.0.basis.weight"].clone()
    lines = load_pretrained(network, trained / "best.ckpt")
    assert len(lines) == 3
    assert torch.equal(network.state_dict()["features.inserted.layer4.0.basis.weight"], before)
