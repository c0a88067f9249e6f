"""Cityscapes: both kinds of label file, and which one is taken."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from rtseg.data.cityscapes import LABELS
from rtseg.data.dataset import create_dataset
from rtseg.errors import UserError

Write = Callable[[Path, np.ndarray], Path]


def labels(root: Path, frame: str, kind: str) -> Path:
    return root / "gtFine" / "train" / frame.split("_")[0] / f"{frame}_gtFine_{kind}.png"


def image(root: Path, write: Write, frame: str, size: tuple[int, int]) -> None:
    folder = root / "leftImg8bit" / "train" / frame.split("_")[0]
    write(folder / f"{frame}_leftImg8bit.png", np.zeros((*size, 3), np.uint8))


def test_label_ids_follow_the_official_table(tmp_path: Path, write: Write) -> None:
    image(tmp_path, write, "ulm_000001_000019", (1, 35))
    write(labels(tmp_path, "ulm_000001_000019", "labelIds"), np.array([[*range(34), 255]], np.uint8))
    sample = create_dataset("cityscapes", tmp_path, "train")[0]
    expected = np.full(35, 255)
    expected[list(LABELS.ids)] = range(19)
    np.testing.assert_array_equal(sample.mask[0], expected)


def test_train_ids_are_taken_only_where_complete(tmp_path: Path, write: Write) -> None:
    frames = ("ulm_000001_000019", "bonn_000002_000019")
    for frame in frames:
        image(tmp_path, write, frame, (2, 2))
        write(labels(tmp_path, frame, "labelIds"), np.full((2, 2), 7, np.uint8))
    write(labels(tmp_path, frames[0], "labelTrainIds"), np.full((2, 2), 1, np.uint8))
    dataset = create_dataset("cityscapes", tmp_path, "train")
    assert [dataset[k].mask.max() for k in range(2)] == [0, 0]
    write(labels(tmp_path, frames[1], "labelTrainIds"), np.full((2, 2), 18, np.uint8))
    dataset = create_dataset("cityscapes", tmp_path, "train")
    assert [dataset[k].mask.max() for k in range(2)] == [18, 1]


def test_bad_values_and_missing_labels(tmp_path: Path, write: Write) -> None:
    image(tmp_path, write, "ulm_000001_000019", (2, 2))
    mask = write(labels(tmp_path, "ulm_000001_000019", "labelTrainIds"), np.full((2, 2), 19, np.uint8))
    with pytest.raises(UserError, match=r"labelTrainIds\.png: label 19 \(4 pixels\).*Allowed: 0-18, 255"):
        create_dataset("cityscapes", tmp_path, "train")[0]
    image(tmp_path, write, "ulm_000002_000019", (2, 2))
    with pytest.raises(
        UserError, match=r"ulm_000002_000019_leftImg8bit\.png has no mask.*<frame>_gtFine_labelTrainIds"
    ):
        create_dataset("cityscapes", tmp_path, "train")
    mask.unlink()
    with pytest.raises(
        UserError, match=r"gtFine/train/\*/\*_gtFine_labelIds\.png, but in .*gtFine/train there is: ulm/"
    ):
        create_dataset("cityscapes", tmp_path, "train")


def test_real_pair_gives_the_same_mask_by_both_roads(shared: Path, tmp_path: Path) -> None:
    root = shared / "data" / "cityscapes_mini256"
    by_train_ids = create_dataset("cityscapes", root, "val")
    assert "labelTrainIds" in by_train_ids.pairs[0][1].name
    for path in root.rglob("*.png"):
        if not path.stem.endswith("labelTrainIds"):
            link = tmp_path / path.relative_to(root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
    by_label_ids = create_dataset("cityscapes", tmp_path, "val")
    assert "labelIds" in by_label_ids.pairs[0][1].name
    ours, theirs = by_label_ids[0].mask, by_train_ids[0].mask
    assert len(np.unique(theirs)) > 8
    # The two files were scaled down apart from each other: 77 of 32768 pixels show another pixel of the same border.
    # There, what theirs holds lies within two pixels in ours; everywhere else they are equal.
    differ = ours != theirs
    around = sliding_window_view(np.pad(ours, 2, constant_values=254), (5, 5))
    assert differ.sum() == 77
    assert (around[differ] == theirs[differ][:, None, None]).any(axis=(1, 2)).all()
