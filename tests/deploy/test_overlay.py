import numpy as np
import pytest

from rtseg.data.dataset import default_palette
from rtseg.deploy.overlay import colorize, overlay
from rtseg.errors import UserError

PALETTE = ((255, 0, 0), (0, 200, 0), (0, 0, 100))


def test_colorize() -> None:
    classes = np.array([[0, 1], [2, 255]], np.uint8)
    assert colorize(classes, PALETTE).tolist() == [[[255, 0, 0], [0, 200, 0]], [[0, 0, 100], [0, 0, 0]]]


@pytest.mark.parametrize("classes", [np.full((2, 2), 3, np.uint8), np.full((2, 2), -1, np.int16)])
def test_class_without_colour_is_refused(classes: np.ndarray) -> None:
    with pytest.raises(UserError, match="palette of 3 colours"):
        colorize(classes, PALETTE)


def test_colorize_beyond_256_classes() -> None:
    palette = default_palette(300)
    classes = np.array([[254, 299]], np.int16)
    assert colorize(classes, palette)[0].tolist() == [list(palette[254]), list(palette[299])]


def test_overlay_mixes_and_leaves_ignored_pixels() -> None:
    image = np.full((1, 2, 3), 100, np.uint8)
    classes = np.array([[1, 255]], np.uint8)
    assert overlay(image, classes, PALETTE, 0.25).tolist() == [[[75, 125, 75], [100, 100, 100]]]
    assert overlay(image, classes, PALETTE, 0).tolist() == image.tolist()
    assert overlay(image, classes, PALETTE, 1)[0, 0].tolist() == [0, 200, 0]


def test_overlay_refuses_other_sizes_and_shares() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(UserError, match="one size"):
        overlay(image, np.zeros((6, 4), np.uint8), PALETTE)
    with pytest.raises(UserError, match=r"alpha=1.5"):
        overlay(image, np.zeros((4, 6), np.uint8), PALETTE, 1.5)
