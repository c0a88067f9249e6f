"""The values that follow the data, over images from 64x80 to 4000x3000, 2 to 200 classes, 2 to 10,000 images."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import Namespace

from rtseg.cli import main
from rtseg.data.dataset import IdDecoder, LabelSpace, SegmentationDataset, default_palette
from rtseg.data.survey import Survey
from rtseg.training.from_data import (
    KEYS,
    choose,
    choose_batch_size,
    choose_class_weights,
    choose_crop_size,
    choose_eval_resize,
    choose_scales,
    choose_steps,
    follows_data,
    take_recorded,
)
from tests.helpers.command import check_refused, exit_status

CONFIG = Path(__file__).parents[2] / "configs" / "rtformer_slim_folder.yaml"
TINY = ["--model.options.base_channels=8", "--model.options.head_channels=8", "--model.options.spp_channels=8"]
FAST = ["--data.num_workers=0", "--trainer.accelerator=cpu", "--fps.enabled=false", "--model.optim.warmup_steps=1"]


@pytest.mark.parametrize(
    ("size", "crop"),
    [
        ((64, 80), (64, 64)), ((20, 3000), (64, 3008)), ((240, 320), (256, 320)), ((360, 480), (352, 480)),
        ((512, 704), (448, 576)), ((1, 1), (64, 64)),
    ],
)  # fmt: skip
def test_a_crop_follows_the_images(size: tuple[int, int], crop: tuple[int, int]) -> None:
    assert choose_crop_size(size) == crop


@pytest.mark.parametrize("height", [16, 100, 511, 513, 900, 3000])
@pytest.mark.parametrize("width", [16, 333, 640, 4000, 20000])
def test_a_crop_is_bounded(height: int, width: int) -> None:
    crop = choose_crop_size((height, width))
    assert all(side % 32 == 0 and side >= 64 for side in crop)
    assert crop[0] * crop[1] <= 512 * 512


def test_large_images_are_made_smaller() -> None:
    assert choose_eval_resize((480, 640)) is None
    assert choose_scales((480, 640), None) == (0.75, 1.0, 1.25, 1.5)
    assert choose_eval_resize((3000, 4000)) == (512, 2048)
    assert choose_scales((3000, 4000), (512, 2048))[1] == pytest.approx(512 / 3000, abs=1e-5)


def test_class_weights() -> None:
    assert choose_class_weights([0.64, 0.16, 0.04]) == (0.5, 1.0, 2.0)
    assert choose_class_weights([0.5, 0.5, 0.0]) == (1.0, 1.0, 1.0)  # the third does not occur
    assert choose_class_weights([0.0, 0.0]) == (1.0, 1.0)
    many = choose_class_weights([2.0**-k for k in range(1, 200)])
    assert (many[0], many[-1]) == (0.2, 5.0)
    assert list(many) == sorted(many)


def test_length_and_batch() -> None:
    assert [choose_batch_size(images) for images in (1, 2, 3, 4, 7, 8, 10_000)] == [2, 2, 2, 4, 4, 8, 8]
    assert [choose_steps(images, 8) for images in (10, 80, 367, 10_000)] == [500, 800, 3600, 20_000]
    assert choose_steps(101, 1) % 10 == 0


def draw(root: Path, numbers: dict[str, int], values: tuple[int, ...], size: tuple[int, int] = (64, 80)) -> None:
    """A folder of images, whose masks hold vertical stripes of the values."""
    for split, number in numbers.items():
        for k in range(number):
            mask = np.array(values, np.uint8)[np.arange(size[1]) * len(values) // size[1]][None].repeat(size[0], 0)
            for folder, content in (("images", np.repeat(mask[..., None] * 9 + k, 3, -1)), ("masks", mask)):
                (root / folder / split).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / folder / split / f"{k}.png"), content)


def describe(root: Path, **content: Any) -> None:
    splits = {split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in ("train", "val")}
    (root / "dataset.yaml").write_text(yaml.safe_dump(splits | content))


def fit(root: Path, *flags: str) -> int:
    given = [f"--config={CONFIG}", f"--data.root={root}", f"--output={root / 'run'}"]
    return exit_status(main, "fit", *given, *TINY, *FAST, *flags)


@pytest.mark.slow
def test_what_is_chosen_is_said_recorded_and_kept_on_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path, {"train": 5, "val": 2}, (0, 0, 0, 1))
    describe(tmp_path, classes=["road", "car"])
    assert fit(tmp_path, "--trainer.max_steps=2", "--trainer.num_sanity_val_steps=0") == 0
    said = capsys.readouterr().out
    assert "5 training pairs, 2 validation pairs; median image 64x80" in said
    assert "Classes in 5 masks: road 75.0 %, car 25.0 %.\n" in said
    assert re.search(r"data\.batch_size=4: 5 training images.*\n", said)
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    saved = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    for settings in (config["data"], {key.removeprefix("data."): value for key, value in saved["settings"].items()}):
        assert settings["batch_size"] == 4
        assert list(settings["crop_size"]) == [64, 64]
        assert settings["eval_resize"] is None
    assert config["model"]["loss"]["class_weights"] == [0.82, 1.41]
    assert config["trainer"]["val_check_interval"] == 1

    # More images of one class would lead to other weights; the data are another then, and that is what is said.
    draw(tmp_path, {"train": 4}, (1, 1, 1, 0))
    assert fit(tmp_path, "--trainer.max_steps=3", f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}") == 0
    again = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert again["model"]["loss"]["class_weights"] == [0.82, 1.41]
    capsys.readouterr()
    validate = ["validate", f"--config={CONFIG}", f"--data.root={tmp_path}", *TINY, *FAST[:2]]
    assert exit_status(main, *validate, f"--ckpt_path={tmp_path / 'run' / 'last.ckpt'}") == 0
    assert "mIoU" in capsys.readouterr().out


TRAINER = {
    "max_steps": -1, "max_epochs": None, "fast_dev_run": False, "accumulate_grad_batches": 1,
    "check_val_every_n_epoch": None, "val_check_interval": None,
}  # fmt: skip


def asked(**trainer: Any) -> Namespace:
    """A configuration that leaves all to the data."""
    data = Namespace(batch_size="auto", crop_size="auto", scales="auto", eval_resize="auto")
    loss = Namespace(class_weights="auto")
    return Namespace(data=data, model=Namespace(loss=loss), trainer=Namespace(**TRAINER | trainer))


def found(size: tuple[int, int] = (64, 80), classes: int = 2, images: int = 3) -> Survey:
    """The survey of a data set whose class k has k + 1 pixels."""
    names = tuple(f"class {k}" for k in range(classes))
    labels = LabelSpace(names, default_palette(classes), tuple(range(classes)))
    pairs = [(Path("a.png"), Path("m.png"))] * images
    dataset = SegmentationDataset(pairs, labels, "train", IdDecoder({k: k for k in range(classes)}))
    return Survey(dataset, images, tuple(range(1, classes + 1)), 0, size)


@pytest.mark.parametrize("size", [(64, 80), (3000, 4000)])
@pytest.mark.parametrize("classes", [2, 200])
@pytest.mark.parametrize("images", [2, 10, 10_000])
def test_everything_has_a_value_and_a_reason(size: tuple[int, int], classes: int, images: int) -> None:
    config = asked()
    lines = list(map(str, choose(config, found(size, classes, images))))
    assert not follows_data(config)
    assert [line.split("=")[0].strip() for line in lines] == [*KEYS, "trainer.max_steps", "trainer.val_check_interval"]
    assert all(len(line) < 240 and ": " in line for line in lines)
    assert len(config.model.loss.class_weights) == classes
    assert config.trainer.val_check_interval * 10 == config.trainer.max_steps
    assert config.data.batch_size <= images


def test_what_is_given_stays() -> None:
    config = asked(max_epochs=30)
    config.data.batch_size, config.model.loss.class_weights = 6, None
    choose(config, found(images=100))
    assert (config.data.batch_size, config.model.loss.class_weights) == (6, None)
    assert (config.trainer.max_steps, config.trainer.max_epochs) == (-1, 30)
    assert (config.trainer.check_val_every_n_epoch, config.trainer.val_check_interval) == (3, None)
    config = asked(accumulate_grad_batches=4)
    config.data.batch_size = 2
    choose(config, found(images=200))
    assert (config.trainer.max_steps, config.trainer.val_check_interval) == (2000, 800)  # in batches


def test_a_checkpoint_comes_before_the_data() -> None:
    first, second = asked(), asked()
    choose(first, found(images=100))
    settings = {key: first[key] for key in KEYS}
    settings["data.crop_size"] = list(settings["data.crop_size"])  # as a checkpoint keeps it
    take_recorded(second, {"settings": settings, "total_steps": first.trainer.max_steps})
    assert second == first


def test_class_weights_are_compared_before_anything_is_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(tmp_path, {"train": 2, "val": 1}, (0, 1))
    describe(tmp_path, classes=["a", "b"])
    flags = ["--model.loss.class_weights=[1,2,3]", "--model.options.base_channels=7777777"]
    check_refused(fit(tmp_path, *flags), "has 3 entries for 2 classes", capsys)


def test_labels_are_looked_at_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw(tmp_path, {"train": 2, "val": 1}, (0, 255))
    describe(tmp_path, classes=["background", "object"])
    check_refused(fit(tmp_path), "label_map: {0: background, 255: object}", capsys)
    assert not (tmp_path / "run").exists()
