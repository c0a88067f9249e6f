"""`data.reduced`: JPEGs decoded at a reduced size where the scale allows it."""

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.data.augment import TrainAugment
from rtseg.data.dataset import IdDecoder, SegmentationDataset, label_space
from rtseg.data.files import read_image
from rtseg.errors import UserError
from rtseg.training.datamodule import SegmentationData
from rtseg.training.sampling import AugmentedDataset, SampleKey, sample_seed

FIXED: dict[str, Any] = {"flip": 0.0, "distort": False}


@pytest.fixture(params=[".jpg", ".png"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> SegmentationDataset:
    """A smooth image, whose class follows its columns."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8), (136, 76), interpolation=cv2.INTER_CUBIC)
    mask = np.repeat(np.arange(136, dtype=np.uint8)[None] // 13, 76, 0)
    files = tmp_path / f"image{request.param}", tmp_path / "mask.png"
    for file, pixels in zip(files, (image, mask), strict=True):
        cv2.imwrite(str(file), pixels)
    return SegmentationDataset([files], label_space("camvid"), "train", IdDecoder({k: k for k in range(11)}))


def test_only_jpegs_are_shrunk(dataset: SegmentationDataset) -> None:
    jpeg = dataset.pairs[0][0].suffix == ".jpg"
    for shrink in (2, 4, 8):
        sample = dataset.shrunk(0, shrink)
        factor = min(shrink, 4) if jpeg else 1  # 76 is no multiple of 8
        assert sample.image.shape[:2] == (76 // factor, 136 // factor)
        assert sample.mask.shape == sample.size == (76, 136)
        whole = cv2.resize(dataset[0].image, sample.image.shape[1::-1], interpolation=cv2.INTER_AREA)
        assert np.abs(sample.image.astype(int) - whole).mean() < 2  # RGB, not BGR, and in place


def test_what_is_decoded_small_is_what_the_scale_shows(dataset: SegmentationDataset) -> None:
    """The same labels to the bit, and nearly the same colours, at every scale."""
    augment = TrainAugment((24, 30), (0.1, 0.125, 0.25, 0.3, 0.5, 1.0, 2.0), **FIXED)
    whole, reduced = (AugmentedDataset(dataset, augment, 0, reduced=value) for value in (False, True))
    shrinks = []
    for epoch in range(40):
        key = SampleKey(epoch, 0)
        first, second = whole[key], reduced[key]
        shrinks.append(shrink := augment.shrink(sample_seed(0, epoch, 0)))
        assert (first.mask == second.mask).all()
        difference = (first.image.float() - second.image.float()).abs().mean()
        assert difference == 0 if shrink == 1 or dataset.pairs[0][0].suffix == ".png" else difference < 8
    assert set(shrinks) == {1, 2, 4, 8}


def test_the_scale_is_the_one_that_will_be_drawn() -> None:
    mask = np.zeros((64, 64), np.uint8)
    for seed in range(30):
        augment = TrainAugment((64, 64), (0.125, 0.25, 0.5, 0.75), **FIXED)
        out = augment._pipeline
        out.set_random_state(np.random.default_rng(seed), random.Random(seed))
        seen = (out(image=np.zeros((64, 64, 3), np.uint8), mask=mask)["mask"][0] == 0).sum()
        assert augment.shrink(seed) == {8: 8, 16: 4, 32: 2, 48: 1}[int(seen)]


def test_a_mask_of_another_size_is_still_refused(dataset: SegmentationDataset) -> None:
    cv2.imwrite(str(dataset.pairs[0][1]), np.zeros((50, 60), np.uint8))
    with pytest.raises(UserError, match=r"has \(height, width\) \(50, 60\), but its image"):
        dataset.shrunk(0, 2)


def test_a_cut_jpeg_is_still_refused(dataset: SegmentationDataset) -> None:
    path = dataset.pairs[0][0]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match="truncated"):
        read_image(path, shrink=2)


def test_it_excludes_the_cache() -> None:
    with pytest.raises(UserError, match=r"data.reduced decodes JPEGs .* leave it out beside data.cache"):
        SegmentationData("camvid", ".", reduced=True, cache="4GB")
