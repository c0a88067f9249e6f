"""PNGs of numbers: grey and palette have the same numbers in every library, and the same compressed rows."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rtseg.deploy.drawing import row_bands as rows_of
from rtseg.deploy.drawing.png import compress_rows, grey_png, palette_png


def read_both(png: bytes) -> np.ndarray:
    """The numbers that OpenCV and PIL read, which are the same."""
    by_cv2 = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_cv2 is not None
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert np.array_equal(by_cv2, np.asarray(image))
    return by_cv2


@st.composite
def class_maps(draw: st.DrawFn) -> np.ndarray:
    """(H, W) of numbers in blocks, as class maps have them, or without any order."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    most, kind = draw(st.sampled_from([(2, np.uint8), (255, np.uint8), (65535, np.uint16)]))
    block = draw(st.integers(1, 9))
    numbers = np.random.default_rng(draw(st.integers(0, 99))).integers(0, most, (height, width), kind, endpoint=True)
    return np.repeat(np.repeat(numbers, block, 0), block, 1)[:height, :width]


@settings(max_examples=30, deadline=None)
@given(class_maps(), st.booleans())
def test_what_is_written_is_read(numbers: np.ndarray, turned: bool) -> None:
    numbers = numbers.T if turned else numbers  # not contiguous
    rows = compress_rows(numbers)
    written = read_both(grey_png(numbers, rows))
    assert written.dtype == numbers.dtype
    assert np.array_equal(written, numbers)
    if numbers.dtype == np.uint8:
        colors = np.random.default_rng(0).integers(0, 256, (256, 3)).astype(np.uint8)
        with Image.open(io.BytesIO(palette_png(numbers, rows, colors[: int(numbers.max()) + 1]))) as image:
            assert image.mode == "P"
            assert np.array_equal(np.asarray(image), numbers)
            assert np.array_equal(np.asarray(image.convert("RGB")), colors[numbers])


def test_a_large_map_is_compressed_in_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(1).integers(0, 9, (50, 30)).astype(np.uint8)
    whole = grey_png(numbers, compress_rows(numbers))
    monkeypatch.setattr(rows_of, "PIXELS", 100)
    assert len(list(rows_of.bands(50, 30))) == 17
    assert np.array_equal(read_both(grey_png(numbers, compress_rows(numbers))), numbers)
    assert grey_png(numbers, compress_rows(numbers)) == whole
