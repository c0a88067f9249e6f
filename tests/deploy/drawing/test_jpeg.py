"""JPEGs in parts: the pixels of those that are encoded at once, for every reader."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.deploy.drawing.jpeg import jpeg


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (15, 17), (17, 15), (32, 500), (300, 201), (333, 64)])
@pytest.mark.parametrize("part", [1, 2000, 2**22])
def test_has_the_pixels_of_a_jpeg_encoded_at_once(size: tuple[int, int], part: int) -> None:
    small = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = cv2.resize(small, size[::-1]) // 2 + np.random.default_rng(1).integers(0, 99, (*size, 3), dtype=np.uint8)
    at_once = cv2.imencode(".jpg", image)[1]
    file = jpeg(*size, lambda rows: image[rows], part)
    assert file is not None
    decoded, expected = (cv2.imdecode(data, 1) for data in (np.frombuffer(file, np.uint8), at_once))
    assert decoded is not None
    assert expected is not None
    assert np.array_equal(decoded, expected)
    assert (np.asarray(Image.open(io.BytesIO(file))) == np.asarray(Image.open(io.BytesIO(at_once.tobytes())))).all()


def test_parts_are_small() -> None:
    image = np.zeros((500, 100, 3), np.uint8)
    drawn: list[int] = []

    def draw(rows: slice) -> np.ndarray:
        drawn.append(rows.stop - rows.start)
        return image[rows]

    jpeg(500, 100, draw, 5000)
    assert drawn == [48] * 10 + [20]


@pytest.mark.parametrize("size", [(65_501, 1), (1, 65_501)])
def test_too_large(size: tuple[int, int]) -> None:
    assert jpeg(*size, lambda rows: np.zeros((rows.stop - rows.start, size[1], 3), np.uint8)) is None
