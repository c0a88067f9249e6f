"""The folders of the data sets, and pairs that cannot be used."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.pfm import write_pfm
from rtseg.errors import UserError
from rtseg.tasks.stereo.disparity_files import write_disparity_png
from rtseg.tasks.stereo.layouts import find_pairs, list_stereo_datasets

SIZE = (4, 6)


def image(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))


def sceneflow(root: Path, below: str, frames: str = "frames_cleanpass") -> None:
    image(root / frames / f"{below}/left/0006.png")
    image(root / frames / f"{below}/right/0006.png")
    disparity = root / f"disparity/{below}/left/0006.pfm"
    disparity.parent.mkdir(parents=True, exist_ok=True)
    write_pfm(disparity, np.ones(SIZE, np.float32))


@pytest.mark.parametrize("apart", [True, False])
def test_sceneflow_has_its_three_parts(apart: bool, tmp_path: Path) -> None:
    for part, below in (
        ("FlyingThings3D", "TRAIN/A/0000"), ("FlyingThings3D", "TEST/B/0001"),
        ("Driving", "15mm_focallength/scene_forwards/fast"), ("Monkaa", "a_rain_of_stones_x2"),
    ):  # fmt: skip
        sceneflow(tmp_path / part if apart else tmp_path, below)
    train, val = (find_pairs("sceneflow", tmp_path, split).pairs for split in ("train", "val"))
    assert len(train) == 3
    (pair,) = val
    top = "FlyingThings3D/" * apart
    assert pair.name == f"{top}frames_cleanpass/TEST/B/0001/left/0006.png"
    assert pair.right == tmp_path / f"{top}frames_cleanpass/TEST/B/0001/right/0006.png"
    assert pair.disparity == tmp_path / f"{top}disparity/TEST/B/0001/left/0006.pfm"
    with pytest.raises(UserError, match=r"no sceneflow_final pairs for 'train' .* looked for frames_finalpass"):
        find_pairs("sceneflow_final", tmp_path, "train")


@pytest.mark.parametrize(
    ("dataset", "left", "right", "disparity"),
    [("kitti2012", "colored_0", "colored_1", "disp_occ"), ("kitti2015", "image_2", "image_3", "disp_occ_0")],
)
def test_kitti_validates_with_the_last_fifth(
    dataset: str, left: str, right: str, disparity: str, tmp_path: Path
) -> None:
    (tmp_path / "training" / disparity).mkdir(parents=True)
    for k in range(5):
        for folder in (left, right):
            image(tmp_path / f"training/{folder}/{k:06d}_10.png")
            image(tmp_path / f"training/{folder}/{k:06d}_11.png")  # the next frame
        write_disparity_png(tmp_path / f"training/{disparity}/{k:06d}_10.png", np.ones(SIZE))
    assert [pair.left.stem for pair in find_pairs(dataset, tmp_path, "train").pairs] == [
        f"00000{k}_10" for k in range(4)
    ]
    (pair,) = find_pairs(dataset, tmp_path, "val").pairs
    assert pair[:3] == tuple(tmp_path / f"training/{folder}/000004_10.png" for folder in (left, right, disparity))


def test_middlebury_is_only_scored(tmp_path: Path) -> None:
    for scene, name in (("trainingH/Adirondack", "disp0GT.pfm"), ("Piano-perfect", "disp0.pfm")):
        for side in ("im0", "im1"):
            image(tmp_path / scene / f"{side}.png")
        write_pfm(tmp_path / scene / name, np.ones(SIZE, np.float32))
    pairs = find_pairs("middlebury", tmp_path, "val").pairs
    assert [pair.disparity.name for pair in pairs] == ["disp0.pfm", "disp0GT.pfm"]
    with pytest.raises(UserError, match="only scored"):
        find_pairs("middlebury", tmp_path, "train")


def test_bad_pairs_are_named_and_counted_or_left_out(tmp_path: Path) -> None:
    for k in range(5):
        sceneflow(tmp_path, f"TRAIN/A/000{k}")
    folder = tmp_path / "frames_cleanpass/TRAIN/A"
    (folder / "0000/right/0006.png").unlink()
    (tmp_path / "disparity/TRAIN/A/0001/left/0006.pfm").unlink()
    image(folder / "0002/right/0006.png", (4, 8))
    with (tmp_path / "disparity/TRAIN/A/0003/left/0006.pfm").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError) as refused:
        find_pairs("sceneflow", tmp_path, "train")
    lines = str(refused.value).splitlines()
    assert lines[0].startswith("4 of 5 'train' pairs in ")
    for line, says in zip(
        lines[1:],
        (
            "no right image; looked for",
            "no disparity file; looked for",
            "its right image 4x8",
            "take 108",
            "--data.bad",
        ),
        strict=True,
    ):
        assert says in line
    found = find_pairs("sceneflow", tmp_path, "train", "skip")
    assert len(found.pairs) == 1
    assert len(found.left_out) == 4
    with pytest.raises(UserError, match=r"data\.dataset=sceneflo is unknown"):
        find_pairs("sceneflo", tmp_path, "train")
    assert "sceneflow" in list_stereo_datasets()
