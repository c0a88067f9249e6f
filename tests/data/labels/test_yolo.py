"""YOLO's polygons: within a pixel of the outline, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from rtseg.data.polygons import polygons
from rtseg.errors import UserError
from tests.helpers.labels import Convert, Picture, masks

SIZE = (60, 80)
SQUARE = "0 0.25 0.25 0.75 0.25 0.75 0.5 0.25 0.5\n"


@pytest.fixture
def source(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    def source(text: str, **content: object) -> Path:
        folder = tmp_path / "in"
        for part in ("train", "val"):
            picture(folder / "images" / part / "a.jpg", SIZE)
            (folder / "labels" / part).mkdir(parents=True, exist_ok=True)
            (folder / "labels" / part / "a.txt").write_text(text)
        picture(folder / "images" / "train" / "empty.jpg", SIZE)
        layout = {"path": "../datasets/x", "train": "images/train", "val": "images/val", "names": {0: "a", 1: "b"}}
        (folder / "data.yaml").write_text(yaml.dump(layout | content))
        return folder

    return source


def test_masks_come_back_within_a_pixel(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    """Drawn by hand as tools do: outlines through pixel centres, six decimals."""
    blob = np.zeros(SIZE, np.uint8)
    cv2.ellipse(blob, (40, 30), (25, 14), 20, 0, 360, (1,), -1)
    (ring,) = polygons(blob > 0)[0]
    numbers = (np.array(ring).reshape(-1, 2) + 0.5) / (80, 60)
    summary = converted(
        source(" ".join(["1", *(f"{number:.6f}" for number in numbers.ravel())])), unlabelled="background"
    )
    assert summary.images == {"train": 2, "val": 1}
    assert "Images without an object: 1 of 3." in summary.source.notes
    found = masks(tmp_path / "out")["a"] == 2
    edge = cv2.morphologyEx(blob, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    assert not (found != blob.astype(bool))[~edge].any()
    assert not (masks(tmp_path / "out")["empty"]).any()


def test_smaller_above_larger_and_cut_off(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    small = "1 0.3 0.3 0.4 0.3 0.4 0.4 0.3 0.4\n"
    summary = converted(source(small + SQUARE + "0 0.9 0.9 1.2 0.9 1.2 1.2\n"), unlabelled="ignore")
    assert summary.counts["overlapped"] == 2 * 6 * 8, "in two images"
    assert summary.counts["clipped"] == 2
    assert masks(tmp_path / "out")["a"][20, 26] == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0 0.5 0.5 0.1 0.1\n", "boxes and no outline"),
        (SQUARE + "0 0.5 0.5 0.1 0.1\n", "2 lines with a box and no outline"),
        (SQUARE + "7 0.1 0.1 0.2 0.1 0.2 0.2\n", r"2 objects of no class \(there are 0 to 1\) \(7, line 2 of a.txt"),
        (SQUARE + "0 0.1 0.1 nan 0.1 0.2 0.2\n", "finite numbers"),
        (SQUARE + "0 0.1 0.1 0.2 0.1 0.2\n", "odd number of coordinates"),
        (SQUARE + "zero 0.1\n", "2 lines with something else than numbers"),
    ],
)
def test_what_is_refused(source: Callable[..., Path], converted: Convert, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        converted(source(text), unlabelled="ignore")
    if SQUARE in text:
        assert converted(source(text), unlabelled="ignore", broken="skip").images.total() == 3


def test_a_description_that_leads_nowhere(source: Callable[..., Path], converted: Convert) -> None:
    with pytest.raises(UserError, match="there is no 'lost'"):
        converted(source(SQUARE, train="lost"), unlabelled="ignore")
    with pytest.raises(UserError, match="`names` is a list"):
        converted(source(SQUARE, names={0: "a", 2: "b"}), unlabelled="ignore")
