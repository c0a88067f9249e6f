"""Any part of any resized image is to the bit what resizing all of it gives."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.resized_part import resized_part

SCALE = st.one_of(st.sampled_from([0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]), st.floats(0.2, 3))


def check(array: np.ndarray, size: tuple[int, int], corner: tuple[int, int], part: tuple[int, int]) -> None:
    for interpolation in (cv2.INTER_LINEAR, cv2.INTER_NEAREST):
        whole = cv2.resize(array, size[::-1], interpolation=interpolation)
        expected = whole[corner[0] : corner[0] + part[0], corner[1] : corner[1] + part[1]]
        np.testing.assert_array_equal(resized_part(array, size, corner, part, interpolation), expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), height=st.integers(1, 60), width=st.integers(1, 1500), scale=SCALE)
def test_a_part_is_that_of_the_whole(data: st.DataObject, height: int, width: int, scale: float) -> None:
    kind, shape = data.draw(st.sampled_from([(np.uint8, (3,)), (np.uint8, ()), (np.float32, (4,))]))
    array = np.random.default_rng(0).integers(0, 256, (height, width, *shape)).astype(kind)
    size = max(1, round(scale * height)), max(1, round(scale * width))
    corner = data.draw(st.integers(0, size[0] - 1)), data.draw(st.integers(0, size[1] - 1))
    check(array, size, corner, (data.draw(st.integers(1, size[0] - corner[0])), min(64, size[1] - corner[1])))


@pytest.mark.parametrize("scale", [0.75, 1.25, 1.75])
def test_far_right_of_a_wide_image(scale: float) -> None:
    """Where positions have fewer digits than in a window."""
    array = np.random.default_rng(0).integers(0, 256, (8, 2048, 3), dtype=np.uint8)
    size = round(scale * 8), round(scale * 2048)
    for left in range(size[1] // 2, size[1] - 200, 97):
        check(array, size, (1, left), (3, 200))


def test_only_the_window_is_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).integers(0, 256, (400, 800, 3), dtype=np.uint8)
    expected = cv2.resize(array, (1600, 800))[300:400, 700:900]
    resized: list[tuple[int, int]] = []
    resize: Any = cv2.resize

    def watch(image: np.ndarray, size: tuple[int, int], **options: int) -> np.ndarray:
        resized.append(size)
        return resize(image, size, **options)

    monkeypatch.setattr("rtseg.data.resized_part.cv2.resize", watch)
    np.testing.assert_array_equal(resized_part(array, (800, 1600), (300, 700), (100, 200), cv2.INTER_LINEAR), expected)
    assert resized == [(204, 104)]
