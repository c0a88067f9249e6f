import numpy as np
import pytest

from rtseg.data.dataset import default_palette
from rtseg.deploy.drawing import row_bands
from rtseg.deploy.drawing.overlay import colorize, overlay
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


@pytest.mark.parametrize("number", [np.uint8, np.int16])
@pytest.mark.parametrize("side", [60, 1500])
def test_a_large_overlay_is_drawn_in_bands(side: int, number: type, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(side)
    classes = np.repeat(draw.integers(0, 3, (side, side // 10), number), 10, 1)
    classes[5:9, 7:40] = 255
    image = draw.integers(0, 256, (side, side, 3), np.uint8)
    drawn = []
    for pixels in (2**30, 7 * side):
        monkeypatch.setattr(row_bands, "PIXELS", pixels)
        out = np.zeros_like(image)
        assert overlay(image, classes, PALETTE, outlines=True, out=out) is out
        drawn.append(out)
    assert np.array_equal(drawn[0], drawn[1])
    assert (drawn[0] == 255).all(-1).sum() > side
