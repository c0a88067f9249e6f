"""The pixels of polygons and of run lengths: pycocotools is the oracle."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rtseg.data.coco_annotation import mask_annotation
from rtseg.data.coco_masks import draw
from rtseg.data.fill import crosses_itself, fill, windings
from rtseg.data.rle import decode, encode, encode_list

coco = pytest.importorskip("pycocotools.mask")
COORDINATE = st.one_of(
    st.floats(-8, 28, allow_subnormal=False), st.integers(-8, 28), st.sampled_from((0.1, 0.3, 7.5, 12.9))
)
SMALL = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def check_polygon(ring: list[float], size: tuple[int, int]) -> None:
    expected = coco.decode(coco.merge(coco.frPyObjects([ring], *size))).astype(bool)
    assert np.array_equal(fill(ring, size), expected)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=8),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
def test_a_polygon_covers_what_cocos_code_says(points: list[tuple[float, float]], size: tuple[int, int]) -> None:
    check_polygon([float(number) for point in points for number in point], size)


def test_polygons_at_random() -> None:
    """Whole numbers, tenths, halves and any; corners that repeat; far outside."""
    rng = np.random.default_rng(0)
    for k in range(240):
        points = rng.uniform(-10, 50, (rng.integers(3, 9), 2))
        points = np.round(points * (1, 10, 2, 1e6)[k % 4]) / (1, 10, 2, 1e6)[k % 4]
        points[-1] = points[0] if k % 3 else points[-1]
        check_polygon(points.ravel().tolist(), (int(rng.integers(1, 40)), int(rng.integers(1, 40))))


@settings(max_examples=15, deadline=None)
@given(SMALL)
def test_masks_become_annotations_and_masks_again(mask: np.ndarray) -> None:
    runs = encode(mask)
    assert runs == {**coco.encode(np.asfortranarray(mask, np.uint8)), "counts": runs["counts"], "size": [*mask.shape]}
    assert coco.encode(np.asfortranarray(mask, np.uint8))["counts"].decode() == runs["counts"]
    assert np.array_equal(decode(runs), mask)
    assert np.array_equal(decode(encode_list(mask)), mask)
    if mask.any():
        assert np.array_equal(draw(mask_annotation(mask)["segmentation"], mask.shape), mask)


def test_a_ring_that_crosses_itself_is_even_odd() -> None:
    bow_tie, twice, plain = [0, 0, 8, 8, 8, 0, 0, 8], [0, 0, 6, 0, 6, 6, 0, 6] * 2, [0, 0, 6, 0, 6, 6, 0, 6]
    assert [crosses_itself(windings(ring, (8, 8))[1]) for ring in (bow_tie, twice, plain)] == [True, True, False]
    assert not fill(twice, (8, 8)).any(), "what is gone round twice is outside"
    hole = [0, 0, 8, 0, 8, 8, 0, 8, 0, 0, 2, 2, 2, 6, 6, 6, 6, 2, 2, 2]
    assert not crosses_itself(windings(hole, (8, 8))[1]), "to a hole and back on the same line"
    assert fill(hole, (8, 8)).sum() == 64 - 16
