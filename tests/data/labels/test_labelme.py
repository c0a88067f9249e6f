"""LabelMe's files become masks: every kind of shape, in the file's order, and what is refused."""

import base64
import unicodedata
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.errors import UserError
from tests.helpers.labels import Convert, Picture, masks, write_json

Shape = dict[str, Any]


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> Shape:
    return {"label": label, "points": points, "group_id": 1, "shape_type": kind, "flags": {}, **more}


def base64_png(pixels: np.ndarray) -> str:
    data = BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return base64.b64encode(data.getvalue()).decode()


@pytest.fixture
def source(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    def source(*shapes: Shape, **more: Any) -> Path:
        picture(tmp_path / "in" / "a.jpg", (12, 16))
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": "a.jpg",
            "imageData": None,
        }
        write_json(tmp_path / "in" / "a.json", content | {"imageHeight": 12, "imageWidth": 16} | more)
        return tmp_path / "in"

    return source


def test_every_kind_of_shape(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    pixels = np.array([[1, 0, 1], [0, 1, 1]], bool)
    folder = source(
        shape("b", [[0, 0], [6, 0], [6, 5], [0, 5]]),
        shape("a", [[4, 3], [9, 8]], "rectangle"),
        shape("c", [[12, 6], [15, 6]], "circle"),
        shape("b", [[13, 10], [15, 11]], "mask", mask=base64_png(pixels)),
    )
    expected = np.full((12, 16), 255, np.uint8)
    expected[:5, :6] = 1
    expected[3:8, 4:9] = 0
    rows, columns = np.mgrid[:12, :16] + 0.5
    expected[(columns - 12) ** 2 + (rows - 6) ** 2 <= 9] = 2
    expected[10:12, 13:16][pixels] = 1
    summary = converted(folder, unlabelled="ignore", val=0)
    assert summary.names == ("a", "b", "c")
    assert np.array_equal(masks(tmp_path / "out")["a"], expected)
    assert summary.counts["overlapped"] == 4


def test_the_image_may_lie_beside_the_file(source: Callable[..., Path], converted: Convert) -> None:
    whole = shape("a", [[0, 0], [16, 12]], "rectangle")
    folder = source(whole, imagePath="..\\lost\\a.jpg")
    assert converted(folder).images.total() == 1, "it lies beside the file, whatever the path says"
    folder = source(whole, imagePath=unicodedata.normalize("NFC", "é.jpg"))
    (folder / "a.jpg").rename(folder / unicodedata.normalize("NFD", "é.jpg"))
    assert converted(folder).images.total() == 1, "a name that macOS wrote"


def test_the_image_may_be_in_the_file(source: Callable[..., Path], converted: Convert) -> None:
    whole = shape("a", [[0, 0], [16, 12]], "rectangle")
    with pytest.raises(UserError, match=r"missing, and not in imageData either \(lost.jpg of a.json\)"):
        converted(source(whole, imagePath="lost.jpg"))
    data = base64.b64encode((source(whole) / "a.jpg").read_bytes()).decode()
    assert converted(source(whole, imagePath="lost.jpg", imageData=data)).images.total() == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (shape("a", [[1, 1], [2, 2]]), "polygon of fewer than three points"),
        (shape("a", [[1, 1], [2, float("inf")], [3, 3]]), "something else than finite numbers"),
        (shape("a", [[1, 1]], "point"), "shape without an area"),
        (shape("a", [[1, 1]], "hexagon"), "hexagon"),
        (shape("", [[1, 1], [5, 1], [3, 3]]), "shape without a label"),
        (shape("a", [[1, 1], [5, 5]], "mask", mask="AAAA"), "no PNG of the size of their box"),
    ],
)
def test_what_cannot_be_used_is_named(source: Callable[..., Path], converted: Convert, wrong: Shape, says: str) -> None:
    good = shape("a", [[0, 0], [16, 12]], "rectangle")
    with pytest.raises(UserError, match=says):
        converted(source(wrong, good))
    assert converted(source(wrong, good), broken="skip").images.total() == 1


def test_another_version_is_said(source: Callable[..., Path], converted: Convert) -> None:
    summary = converted(source(shape("a", [[0, 0], [16, 12]], "rectangle"), version="99.0"))
    assert any("99.0" in note for note in summary.source.notes)
