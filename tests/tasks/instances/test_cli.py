"""`rtseg instances fit|validate|predict` from the command line: on drawn things, with a tiny network."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rtseg.cli import main
from rtseg.configs import CONFIGS
from rtseg.data import rle
from rtseg.data.files import read_image
from rtseg.errors import STOPPED
from rtseg.tasks.instances.cli import InstancesCLI
from rtseg.tasks.instances.detections import Detections
from rtseg.tasks.instances.help import PAGES
from rtseg.tasks.instances.overlay import Found, draw
from rtseg.tasks.instances.predict import objects
from tests.helpers.command import check_refused, exit_status
from tests.training.callbacks.test_stop import Signal, rows
from tests.training.test_help import defaults

TINY = (
    "--model.name=mask_rcnn_resnet18", "--model.options.channels=16", "--model.options.sizes=[64]",
    "--model.options.norm=batch", "--model.options.trainable=5", "--model.options.proposals=20",
    "--model.options.rpn_samples=16", "--model.options.roi_samples=8", "--model.options.anchors=[8,16,24,32,48]",
    "--model.optim.warmup_steps=0", "--model.optim.lr=1e-3", "--data.batch_size=4", "--data.num_workers=0",
    "--trainer.accelerator=cpu", "--trainer.num_sanity_val_steps=0", "--trainer.enable_progress_bar=false",
    "--trainer.log_every_n_steps=1",
)  # fmt: skip
UNSAID = ("data.root", "data.annotations", "data.image_folder")  # defaults that the help leaves out
INSERT = ("--model.insert.layer3=fa:basis=8", "--model.insert.fpn.*=fa:basis=8")


def fit(root: Path, output: Path, *flags: str) -> int:
    return exit_status(main, "instances", "fit", *TINY, f"--data.root={root}", f"--output={output}", *flags)


@pytest.fixture(scope="module")
def trained(things: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of two steps with attention inserted, and a moving average."""
    output = tmp_path_factory.mktemp("run") / "run"
    flags = ("--trainer.max_steps=2", "--trainer.max_epochs=-1", "--model.ema_decay=0.9")
    assert fit(things, output, *INSERT, *flags, "--trainer.limit_train_batches=2") == 0
    return output


def test_a_training_leaves_a_run_folder(trained: Path) -> None:
    saved = torch.load(trained / "best.ckpt", weights_only=True)
    card = saved["model_card"]
    assert card["part"] == "detector"
    assert card["class_names"] == ["disc", "ring", "triangle", "square", "star"]
    assert card["ids"] == [1, 3, 7, 18, 44]
    assert list(card["insert"]) == ["layer3", "fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5", "fpn.p6"]
    assert card["data_origin"].startswith("generated scenes")
    log = (trained / "metrics.csv").read_text().splitlines()[0].split(",")
    for name in ("train/loss", "train/loss_mask", "train/loss_rpn_box_reg", "val/mask_ap", "val/box_ap_star"):
        assert name in log


@pytest.mark.slow
def test_validation_takes_its_settings_from_the_checkpoint(
    trained: Path, things: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--data.num_workers=0", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")
    where = (f"--ckpt_path={trained / 'best.ckpt'}", f"--data.root={things}")
    assert exit_status(main, "instances", "validate", *where, *flags) == 0
    shown = capsys.readouterr()
    assert "8 validation images" in shown.out
    assert "ap of star" in shown.out
    assert "Warning" not in shown.err


def test_predict_writes_overlays_and_one_file_of_coco(trained: Path, things: Path, tmp_path: Path) -> None:
    folder = things / "val2017"
    command = ("instances", "predict", str(trained / "best.ckpt"), str(folder), "-o", str(tmp_path / "out"))
    assert exit_status(main, *command, "--min-score=0", "--device=cpu") == 0
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [(image["height"], image["width"]) for image in content["images"]] == [(64, 80)] * 8
    assert sorted(image["file_name"] for image in content["images"]) == sorted(file.name for file in folder.iterdir())
    assert {one["category_id"] for one in content["annotations"]} <= {1, 3, 7, 18, 44}
    for one in content["annotations"]:
        mask = rle.decode(one["segmentation"])
        assert mask.shape == (64, 80)
        assert mask.sum() == one["area"]
        assert 0 <= one["score"] <= 1
    overlays = sorted((tmp_path / "out").rglob("*_overlay.jpg"))
    assert [read_image(file).shape for file in overlays] == [(64, 80, 3)] * 8
    status = exit_status(main, *command)
    assert status == 2, "the folder is not empty"


def test_masks_of_a_reduced_image_are_enlarged_one_by_one() -> None:
    masks = torch.zeros(1, 10, 20, dtype=torch.bool)
    masks[0, 2:8, 5:15] = True
    found = Detections(torch.tensor([[5.0, 2, 15, 8]]), torch.tensor([1]), torch.tensor([0.9]), masks)
    (one,) = objects(found, (40, 60), ("a", "b"))
    assert one.mask.shape == (40, 60)
    assert one.mask[10:30, 17:43].all()
    assert one.mask.sum() == pytest.approx(24 * 30, rel=0.1)
    assert one.box == (15, 8, 45, 32)
    drawn = draw(np.zeros((40, 60, 3), np.uint8), [one])
    assert drawn[20, 30].any()
    assert not drawn[38, 58].any()


def test_labels_of_a_small_image_stand_beside_each_other() -> None:
    empty = np.zeros((128, 160), bool)
    things = [Found(empty, (40, 60 + 3 * k, 90, 100), "triangle", 0.9) for k in range(3)]
    dark = np.any(draw(np.full((128, 160, 3), 255, np.uint8), things)[:, 50:85] < 200, axis=2)
    labels = np.flatnonzero(np.all(dark, axis=1))  # rows that are dark from side to side, or a box's own
    assert 28 <= len(labels) <= 36


@pytest.mark.slow
def test_an_unreadable_image_is_named_and_the_others_are_predicted(
    trained: Path, things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 cut")
    image = next((things / "val2017").iterdir())
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        shutil.copy(image, tmp_path / name / "one.jpg")
    command = ("instances", "predict", str(trained / "best.ckpt"), *(str(tmp_path / name) for name in ("a", "b")))
    flags = ("--min-score=0.999", "--device=cpu")
    assert exit_status(main, *command, str(tmp_path / "broken.jpg"), "-o", str(tmp_path / "out"), *flags) == 1
    said = capsys.readouterr()
    assert "broken.jpg: truncated file" in said.err
    assert "0 objects in 2 images" in said.out
    assert "a lower --min-score" in " ".join(said.out.split())
    content = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["a/one.jpg", "b/one.jpg"]
    assert not content["annotations"]


@pytest.mark.slow
def test_a_training_that_was_stopped_resumes_to_the_bit(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = (*INSERT, "--model.ema_decay=0.9", "--trainer.max_epochs=2")
    assert fit(things, tmp_path / "whole", *flags) == 0
    stop = [Signal(signal.SIGTERM, step=7)]  # within the second epoch of six steps
    with monkeypatch.context() as patch:
        patch.setattr(InstancesCLI, "more_callbacks", lambda self, config: stop)
        assert fit(things, tmp_path / "cut", *flags) == STOPPED
    assert torch.load(tmp_path / "cut/last.ckpt", weights_only=True)["global_step"] == 8
    assert fit(things, tmp_path / "cut", *flags, f"--ckpt_path={tmp_path / 'cut/last.ckpt'}") == 0
    whole, cut = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "cut"))
    for part in ("state_dict", "ema_state_dict"):
        assert whole[part].keys() == cut[part].keys()
        assert all(torch.equal(whole[part][key], cut[part][key]) for key in whole[part])
    assert rows(tmp_path / "whole") == rows(tmp_path / "cut")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--model.insert.layer5=fa",), "unknown place 'layer5'"),
        (("--model.name=mask_rcnn_resnet5",), "Did you mean 'mask_rcnn_resnet50'"),
        (("--model.options.chanels=3",), "has no option 'chanels'"),
        (("--data.broken=ignore",), "data.broken"),
        (("--data.batch_size=100",), "more than the 24 training images"),
        (("--data.annotations=lost_{split}.json",), "there is no annotation file"),
        (("--model.weights=lost.pth",), "lost.pth"),
        (("--config=mask_rcnn_thing",), "mask_rcnn_things"),
    ],
)
def test_bad_settings_are_refused(
    flags: tuple[str, ...], message: str, things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_refused(fit(things, tmp_path / "run", *flags), message, capsys)


@pytest.mark.slow
def test_another_model_or_task_is_refused(
    trained: Path, things: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    resumed = f"--ckpt_path={trained / 'last.ckpt'}"
    check_refused(fit(things, trained, resumed, "--model.insert.layer3=fa"), "model.insert=", capsys)
    image = str(next((things / "val2017").iterdir()))
    status = exit_status(main, "predict", str(trained / "best.ckpt"), image, "-o", str(tmp_path / "out"))
    check_refused(status, "rtseg instances predict", capsys)


@pytest.mark.slow
def test_the_help_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    known = defaults(lambda words: main(["instances", *words]), capsys)
    for page in PAGES.values():
        for setting in page.settings:
            if setting.key not in ("config", "auto"):
                assert setting.key in known, f"{setting.key} is no key of {page.command}"
                assert setting.default == known[setting.key] or setting.key in UNSAID, setting.key
        assert max(map(len, str(page).splitlines())) <= 80


CONFIG_FILES = sorted((CONFIGS / "instances").glob("*.yaml"))


def test_there_is_a_configuration_for_each_row_of_the_papers_tables() -> None:
    bodies, kinds = ("resnet50", "resnet101", "resnext101"), ("", "_fa")
    rows = {f"mask_rcnn_{body}{kind}_coco" for body in bodies for kind in kinds}
    assert {file.stem for file in CONFIG_FILES} == {*rows, "mask_rcnn_things"}


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIG_FILES, ids=lambda file: file.stem)
def test_a_training_starts_from_every_configuration(config: Path, things: Path, tmp_path: Path) -> None:
    flags: dict[str, Any] = {
        "data.root": things, "data.batch_size": 2, "data.num_workers": 0, "model.weights": "null",
        "model.options.sizes": "[64]", "trainer.max_steps": 1, "trainer.num_sanity_val_steps": 0,
        "trainer.accelerator": "cpu", "trainer.limit_val_batches": 0, "output": tmp_path / "run",
    }  # fmt: skip
    words = (f"--{key}={value}" for key, value in flags.items())
    assert exit_status(main, "instances", "fit", f"--config={config.stem}", *words) == 0
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 1
    assert len(saved["model_card"]["insert"]) == (7 if "_fa" in config.stem else 0)
