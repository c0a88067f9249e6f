"""Polygons become the same mask again, and run lengths are those of pycocotools."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtseg.data.polygons import area, polygons
from rtseg.data.rle import decode, encode
from rtseg.errors import UserError

MASKS = {
    "empty": np.zeros((4, 5), bool),
    "full": np.ones((4, 5), bool),
    "one pixel": np.eye(1, 12, 5, dtype=bool).reshape(3, 4),
    "lines": np.array([[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1], [1, 0, 1, 0]], bool),
    "corners touch": np.eye(6, dtype=bool),
    "a hole of one pixel": np.pad(np.zeros((1, 1), bool), 1, constant_values=True),
    "an island in a hole": np.pad(np.pad(np.pad(np.ones((1, 2), bool), 2), 1, constant_values=True), 1),
    "columns": np.arange(20).reshape(4, 5) % 2 == 0,
}
masks = st.tuples(
    st.integers(1, 30), st.integers(1, 30), st.sampled_from([0.02, 0.2, 0.5, 0.8, 0.97]), st.integers(0, 999)
).map(lambda drawn: np.random.default_rng(drawn[3]).random(drawn[:2]) < drawn[2])


def check_polygons(mask: np.ndarray) -> None:
    drawn = np.zeros(mask.shape, np.uint8)
    for part in polygons(mask):
        alone = np.zeros(mask.shape, np.uint8)
        cv2.fillPoly(alone, [np.array(ring, np.int32).reshape(-1, 2) for ring in part], (1,))
        assert not (alone & drawn).any(), "a pixel is of one part"
        drawn |= alone
    assert np.array_equal(drawn > 0, mask)
    along_edges = polygons(mask, edges=True)
    assert len(along_edges) == len(polygons(mask))
    assert sum(area(part[0]) - sum(map(area, part[1:])) for part in along_edges) == mask.sum()


@pytest.mark.parametrize("name", MASKS)
def test_polygons_are_exact(name: str) -> None:
    check_polygons(MASKS[name])


@settings(max_examples=150, deadline=None)
@given(mask=masks)
def test_polygons_of_any_mask_are_exact(mask: np.ndarray) -> None:
    check_polygons(mask)
    check_polygons(mask.repeat(3, 0).repeat(3, 1))


def test_rings_of_a_ring() -> None:
    parts = polygons(MASKS["a hole of one pixel"], edges=True)
    assert [sorted(map(len, part)) for part in parts] == [[8, 8]]
    assert [area(ring) for ring in parts[0]] == [9, 1]


def test_a_simplified_outline_stays_near() -> None:
    mask = cv2.circle(np.zeros((100, 100), np.uint8), (50, 50), 40, (1,), -1) > 0
    exact, simple = (polygons(mask, tolerance=tolerance)[0][0] for tolerance in (0, 2))
    assert len(simple) < len(exact) / 2
    assert abs(area(simple) - area(exact)) < 0.1 * area(exact)
    assert polygons(MASKS["one pixel"], tolerance=5) == polygons(MASKS["one pixel"])


@settings(max_examples=150, deadline=None)
@given(mask=masks)
def test_run_lengths_come_back(mask: np.ndarray) -> None:
    for one in (mask, mask.repeat(40, 1)):  # longer runs take more characters
        assert np.array_equal(decode(encode(one)), one)


@settings(max_examples=150, deadline=None)
@given(mask=masks)
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    for one in (mask, mask.repeat(40, 1)):
        theirs = coco.encode(np.asfortranarray(one, np.uint8))
        assert encode(one) == {"size": theirs["size"], "counts": theirs["counts"].decode()}
        assert int(coco.area(encode(one))) == one.sum()


@settings(max_examples=100, deadline=None)
@given(mask=masks)
def test_polygons_along_edges_are_the_mask_for_pycocotools(mask: np.ndarray) -> None:
    coco = pytest.importorskip("pycocotools.mask")
    parts = [part for part in polygons(mask, edges=True) if len(part) == 1]
    if len(parts) == len(polygons(mask)) > 0:
        theirs = coco.merge(coco.frPyObjects([part[0] for part in parts], *mask.shape))
        assert np.array_equal(coco.decode(theirs) > 0, mask)


def test_known_run_lengths() -> None:
    """By hand: the runs 1, 2, 3 are written as they are, and one of 40 takes two characters."""
    assert encode(np.array([[0, 1, 0], [1, 0, 0]], bool))["counts"] == "123"
    assert encode(np.zeros((8, 5), bool))["counts"] == "X1"
    assert encode(np.ones((2, 2), bool))["counts"] == "04"


@pytest.mark.parametrize(
    ("counts", "message"),
    [("X", "cut off"), ("12", "mask of 2x3"), ("1~5", "not a character"), ("", "mask of 2x3"), ("1?3", "mask of 2x3")],
)
def test_damaged_run_lengths_are_refused(counts: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode({"size": [2, 3], "counts": counts})
