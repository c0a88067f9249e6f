"""ADE20K in the layout of ADEChallengeData2016."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtseg.data.dataset import create_dataset, label_space
from rtseg.errors import UserError

Write = Callable[[Path, np.ndarray], Path]


def pair(root: Path, write: Write, mask: np.ndarray) -> None:
    write(root / "images" / "training" / "ADE_train_1.jpg", np.zeros((*mask.shape[:2], 3), np.uint8))
    write(root / "annotations" / "training" / "ADE_train_1.png", mask)


@pytest.mark.parametrize("inner", ["", "ADEChallengeData2016"])
def test_zero_is_ignored_and_1_to_150_are_classes(tmp_path: Path, write: Write, inner: str) -> None:
    pair(tmp_path / inner, write, np.arange(151, dtype=np.uint8)[None])
    sample = create_dataset("ade20k", tmp_path, "train")[0]
    np.testing.assert_array_equal(sample.mask[0], [255, *range(150)])


def test_151_is_refused(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.full((2, 2), 151, np.uint8))
    with pytest.raises(UserError, match=r"ADE_train_1\.png: label 151 \(4 pixels\).*Allowed: 0-150"):
        create_dataset("ade20k", tmp_path, "train")[0]


def test_the_full_data_sets_colour_files_are_refused(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    with pytest.raises(UserError, match=r"3 channels"):
        create_dataset("ade20k", tmp_path, "train")[0]


def test_missing_validation(tmp_path: Path, write: Write) -> None:
    pair(tmp_path, write, np.ones((2, 2), np.uint8))
    with pytest.raises(UserError, match=r"images/validation/\*\.jpg, but in .*/images there is: training/"):
        create_dataset("ade20k", tmp_path, "val")


def test_real_files(shared: Path) -> None:
    root = shared / "data" / "ade20k"
    assert [len(create_dataset("ade20k", root, split)) for split in ("train", "val")] == [4, 1]
    labels = label_space("ade20k")
    rows = (root / "ADEChallengeData2016" / "objectInfo150.txt").read_text().splitlines()[1:]
    assert list(labels.names) == [row.split("\t")[4].split(",")[0].strip() for row in rows]
    assert labels.palette[:2] == ((120, 120, 120), (180, 120, 120))
    assert labels.palette[149] == (92, 0, 255)
    for split in ("train", "val"):
        dataset = create_dataset("ade20k", root, split)
        for sample in map(dataset.__getitem__, range(len(dataset))):
            assert sample.image.shape[:2] == sample.mask.shape == sample.size
            assert ((sample.mask < 150) | (sample.mask == 255)).all()
