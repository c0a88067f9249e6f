"""Drawn stereo pairs: the disparity is that of the two images, and the folder is Scene Flow's."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.pfm import read_pfm
from rtseg.scenes import make_data
from rtseg.scenes.stereo_pairs import DrawnPair, draw_pair


@pytest.fixture(scope="module")
def pair() -> DrawnPair:
    return draw_pair(np.random.default_rng(3), (96, 160))


def differences(pair: DrawnPair, shift: float = 0) -> np.ndarray:
    """The right image's pixels where the disparity and `shift` lead; what lies outside of it is left out."""
    y, x = np.mgrid[:96, :160].astype(np.float32)
    column = x - pair.disparity - np.float32(shift)
    found = cv2.remap(pair.right, column, y, cv2.INTER_LINEAR)
    return np.abs(found.astype(int) - pair.left).mean(2)[column >= 0]


def test_the_disparity_leads_to_the_same_point(pair: DrawnPair) -> None:
    exact = differences(pair)
    assert 0.85 < (exact < 8).mean() < 1, "all but what is hidden in the right image"
    for shift in (-2, 2):
        assert np.minimum(differences(pair, shift), 20).mean() > 1.2 * np.minimum(exact, 20).mean()


def test_disparities_are_positive_and_bounded(pair: DrawnPair) -> None:
    assert pair.disparity.dtype == np.float32
    assert pair.disparity.min() > 0
    assert pair.disparity.max() < 160 / 4
    assert len(np.unique(pair.disparity)) > 1000, "planes are slanted"


def test_the_folder_is_scene_flows(tmp_path: Path) -> None:
    root = make_data("sceneflow", 2, tmp_path / "data", n_val=1, size=(64, 96))
    below = root / "FlyingThings3D"
    for scene in ("TRAIN/A/0000", "TRAIN/A/0001", "TEST/A/0000"):
        left, right = (
            cv2.imread(str(below / f"frames_cleanpass/{scene}/{side}/0006.png")) for side in ("left", "right")
        )
        assert left is not None
        assert right is not None
        assert left.shape == right.shape == (64, 96, 3)
        assert read_pfm(below / f"disparity/{scene}/left/0006.pfm").shape == (64, 96)
    again = make_data("sceneflow", 2, tmp_path / "again", n_val=1, size=(64, 96))
    for file in below.rglob("*.p*"):
        assert file.read_bytes() == (again / file.relative_to(root)).read_bytes()
