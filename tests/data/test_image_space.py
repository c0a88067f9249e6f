"""Data sets whose images are not RGB: what they say, what may contradict, and that samples keep channels and depth."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from rtseg.data.augment import EvalTransform, TrainAugment
from rtseg.data.dataset import Sample, create_dataset, image_space
from rtseg.data.header import upright_size
from rtseg.data.image_space import ImageSpace, shown_image
from rtseg.data.survey import survey
from rtseg.errors import UserError
from rtseg.training.datamodule import SegmentationData, _collate_train
from tests.helpers.channel_folders import MEAN, SIZE, STD, write_folder


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"channels": 0}, "channels=0 is not a whole number from 1 to 128"),
        ({"channels": "4"}, "channels='4'"),
        ({"channels": 4, "mean": (0.5,) * 3, "std": (0.5,) * 3}, "`mean` is 4 numbers, one a channel in units of 1"),
        ({"channels": 1, "mean": (0.5,), "std": (0.0,)}, "`std` is one number above 0"),
        ({"mean": (0.5, float("nan"), 0.5), "std": (1, 1, 1)}, "`mean` is 3 numbers"),
        ({"mean": 0.5, "std": 1}, "`mean` is 3 numbers where no `channels` is given with it, one"),
        ({"channels": 2, "mean": (0.5, 0.5)}, "give `mean` and `std` together; `rtseg check-data` prints them"),
        ({"shown": (0, 1, 3)}, "`shown` is three channels of 0 to 2"),
        ({"channels": 8, "shown": (0, 1)}, "`shown` is three channels of 0 to 7"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(values: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ImageSpace(**values)


@pytest.mark.parametrize("channels", [4, 1])
def test_a_folder_says_what_its_images_hold(tmp_path: Path, channels: int) -> None:
    root = write_folder(tmp_path, channels)
    assert image_space("folder", root) == ImageSpace(channels, MEAN[channels], STD[channels])
    dataset = create_dataset("folder", root, "train")
    image = dataset[0].image
    assert (image.shape, image.dtype) == ((*SIZE, channels), np.uint8 if channels == 4 else np.float32)
    assert survey(dataset).size == SIZE
    with pytest.raises(UserError, match=f"data.channels=12, but the data set's YAML says channels: {channels}"):
        create_dataset("folder", root, "train", 12)


def test_images_without_mean_name_what_prints_it(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 4)
    root.write_text(root.read_text().partition("mean:")[0])
    with pytest.raises(UserError, match=r"images of 4 channels need data.mean and data.std.*`rtseg check-data`"):
        image_space("folder", root).check_normalised()
    assert image_space("folder", root, ImageSpace(4, (0.1,) * 4, (1.0,) * 4)).mean == (0.1,) * 4
    ImageSpace(3).check_normalised()


def test_arrays_are_images_where_channels_are_given(tmp_path: Path) -> None:
    root = write_folder(tmp_path, 4)
    for path in sorted((tmp_path / "images").rglob("*.tif")):
        np.save(path.with_suffix(".npy"), np.zeros((*SIZE, 12), np.float16))
        path.unlink()
    text = root.read_text().partition("channels:")[0]
    root.write_text(text)
    with pytest.raises(UserError, match=r"looked for .*images/train"):
        create_dataset("folder", root, "train")
    dataset = create_dataset("folder", root, "train", 12)
    assert len(dataset) == 4
    assert dataset[0].image.shape == (*SIZE, 12)
    assert survey(dataset).size == SIZE


@pytest.mark.parametrize("channels", [1, 2, 5, 12])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_scale_crop_and_flip_of_any_channels_are_those_of_each_alone(channels: int, dtype: str) -> None:
    random, step = np.random.default_rng(0), 1 if dtype == "uint8" else 1e-2  # OpenCV has a kernel for some numbers
    pixels = random.integers(0, 256, (24, 30, channels)).astype(dtype)
    mask = random.integers(0, 3, (24, 30)).astype(np.uint8)
    augment = TrainAugment((32, 28), scales=(0.5, 1.5), flip=0.5, distort=False)
    for seed in range(4):
        found = augment(Sample(pixels, mask, "a", (24, 30)), seed)
        assert found.image.dtype == getattr(torch, dtype)
        for k in range(channels):
            alone = augment(Sample(np.ascontiguousarray(pixels[..., [k]]), mask, "a", (24, 30)), seed)
            assert (found.image[k].float() - alone.image[0].float()).abs().max() <= step
            assert torch.equal(found.mask, alone.mask)
    evaluated = EvalTransform((64, 128))(Sample(pixels, mask, "a", (24, 30))).image
    assert evaluated.shape == (channels, 64, 96)
    expected = cv2.resize(pixels[..., 0], (96, 64), interpolation=cv2.INTER_LINEAR)
    assert (evaluated[0].float() - torch.from_numpy(expected).float()).abs().max() <= step


def test_small_images_are_padded_by_their_mean() -> None:
    """Which is 0 once normalised: 127 would be far outside of 12 bits in a file of 16."""
    for channels, dtype in ((1, np.float32), (4, np.uint8)):
        augment = TrainAugment((8, 8), scales=(1.0,), flip=0.0, distort=False, pad=[3.6] * channels)
        image = np.zeros((2, 2, channels), dtype)
        found = augment(Sample(image, np.zeros((2, 2), np.uint8), "a", (2, 2)), 0).image
        assert found[:, 4, 4].tolist() == pytest.approx([3.6 if channels == 1 else 4] * channels)


def test_files_of_8_and_of_16_bits_make_one_batch(tmp_path: Path) -> None:
    images = [torch.zeros(1, 4, 4, dtype=kind) for kind in (torch.uint8, torch.float32)]
    samples = [Sample(image, torch.zeros(4, 4), "a", (4, 4)) for image in images]
    assert _collate_train(samples).image.dtype == torch.float32


def test_colours_are_changed_where_images_are_rgb_alone(tmp_path: Path) -> None:
    root = str(write_folder(tmp_path, 4))
    assert not SegmentationData("folder", root, crop_size=(32, 32)).distort
    with pytest.raises(UserError, match=r"data.distort changes colours, and is for RGB of 8 bits"):
        SegmentationData("folder", root, crop_size=(32, 32), distort=True)
    text = (tmp_path / "dataset.yaml").read_text().partition("channels:")[0]
    (tmp_path / "dataset.yaml").write_text(text)
    assert SegmentationData("folder", root, crop_size=(32, 32)).distort


def test_an_image_for_people_spreads_each_channel() -> None:
    levels = np.linspace(0, 16, 4 * 5 * 2, dtype=np.float32).reshape(4, 5, 2)
    mean, std = levels.mean((0, 1)) / 255, levels.std((0, 1)) / 255
    shown = shown_image(levels, (1, 1, 0), mean.tolist(), std.tolist())
    assert (shown.shape, shown.dtype) == ((4, 5, 3), np.uint8)
    assert np.array_equal(shown[..., 0], shown[..., 1])
    assert shown.min() < 60
    assert shown.max() > 195


def test_the_size_of_an_image_that_pillow_does_not_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((5, 7, 12), np.float32))
    assert upright_size(tmp_path / "a.npy") == (5, 7)
    Image.new("L", (7, 5)).save(tmp_path / "a.png")
    assert upright_size(tmp_path / "a.png") == (5, 7)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY")
    assert upright_size(tmp_path / "b.npy") is None
