"""CamVid in SegNet's layout, made here and the real one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rtseg.data.dataset import create_dataset
from rtseg.errors import UserError

Write = Callable[[Path, np.ndarray], Path]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_layout_and_values(tmp_path: Path, write: Write, suffix: str) -> None:
    for split in ("train", "val", "test"):
        write(tmp_path / split / f"0001TP_{split}{suffix}", np.zeros((3, 4, 3), np.uint8))
        write(tmp_path / f"{split}annot" / f"0001TP_{split}.png", np.arange(12, dtype=np.uint8).reshape(3, 4))
        sample = create_dataset("camvid", tmp_path, split)[0]
        np.testing.assert_array_equal(sample.mask.ravel(), [*range(11), 255])
        assert sample.name == f"0001TP_{split}"


def test_value_12_is_refused(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "val" / "a.png", np.zeros((3, 4, 3), np.uint8))
    write(tmp_path / "valannot" / "a.png", np.full((3, 4), 12, np.uint8))
    with pytest.raises(UserError, match=r"valannot/a\.png: label 12 \(12 pixels\).*Allowed: 0-11"):
        create_dataset("camvid", tmp_path, "val")[0]


def test_image_without_mask(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "train" / "a.png", np.zeros((3, 4, 3), np.uint8))
    write(tmp_path / "train" / "b.png", np.zeros((3, 4, 3), np.uint8))
    write(tmp_path / "trainannot" / "a.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match=r"train/b\.png has no mask \(1 of 2.*trainannot/<name of the image>\.png"):
        create_dataset("camvid", tmp_path, "train")


def test_drive_out_needs_the_drives(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "train" / "scene_1.png", np.zeros((3, 4, 3), np.uint8))
    write(tmp_path / "trainannot" / "scene_1.png", np.zeros((3, 4), np.uint8))
    with pytest.raises(UserError, match=r"does not contain a frame of drive 0001TP.*<drive>_<frame>\.png"):
        create_dataset("camvid_drive_out", tmp_path, "val")
    with pytest.raises(UserError, match="split=test is unknown"):
        create_dataset("camvid_drive_out", tmp_path, "test")


def test_real_frames(shared: Path) -> None:
    root = shared / "data" / "camvid"
    assert [len(create_dataset("camvid", root, split)) for split in ("train", "val")] == [367, 101]
    train, val = (create_dataset("camvid_drive_out", root, split) for split in ("train", "val"))
    assert (len(train), len(val)) == (305, 62)
    assert {image.name[:6] for image, _ in val.pairs} == {"0001TP"}
    assert not set(train.pairs) & set(val.pairs)
    assert set(train.pairs) | set(val.pairs) == set(create_dataset("camvid", root, "train").pairs)
    seen = np.bincount(np.concatenate([train[i].mask.ravel() for i in range(0, 305, 20)]), minlength=256)
    assert (seen[:11] > 0).all()
    assert seen[11:255].sum() == 0
    # The names belong to the numbers: sky lies high in the picture, road low.
    masks = np.stack([train[i].mask for i in range(0, 305, 20)])
    rows = [np.nonzero(masks == train.labels.names.index(name))[1].mean() for name in ("sky", "tree", "car", "road")]
    assert rows == sorted(rows)


def test_png_and_jpeg_of_one_frame_agree(shared: Path) -> None:
    png = create_dataset("camvid", shared / "data" / "camvid_original_png", "val")[0]
    jpeg = create_dataset("camvid", shared / "data" / "camvid", "val")[0]
    assert png.name == jpeg.name
    np.testing.assert_array_equal(png.mask, jpeg.mask)
    assert 0 < np.abs(png.image.astype(int) - jpeg.image).mean() < 3
