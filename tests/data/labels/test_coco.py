"""COCO's JSON becomes masks: the union of polygons, holes, run lengths, overlaps, and what is refused."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from rtseg.data.rle import encode, encode_list
from rtseg.errors import UserError
from tests.helpers.labels import Convert, Picture, masks, write_json

SQUARE = [2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0]
RING = np.zeros((12, 16), bool)
RING[1:11, 8:15] = True
RING[4:7, 10:13] = False


def content(*segmentations: Any, **more: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 12, "width": 16}],
        "categories": [{"id": 90, "name": "car"}, {"id": 3, "name": "road"}, {"id": 17, "name": "nothing"}],
        "annotations": [
            {"id": k, "image_id": 7, "category_id": (90, 3)[k % 2], "segmentation": shape, "iscrowd": 0}
            for k, shape in enumerate(segmentations)
        ],
        **more,
    }


@pytest.fixture
def source(tmp_path: Path, picture: Picture) -> Callable[..., Path]:
    def source(*segmentations: Any, **more: Any) -> Path:
        picture(tmp_path / "in" / "a.png", (12, 16))
        return write_json(tmp_path / "in" / "labels.json", content(*segmentations, **more))

    return source


def test_shapes_of_every_kind(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    """The large one is listed last, and lies below; the oracle draws in the order of areas."""
    two = [[0.0, 9.0, 4.0, 9.0, 4.0, 12.0, 0.0, 12.0], [12.0, 0.0, 16.0, 0.0, 16.0, 2.5, 12.0, 2.5]]
    file = source([SQUARE], two, encode(RING), encode_list(np.ones((12, 16), bool)))
    summary = converted(file, val=0)
    assert summary.names == ("road", "nothing", "car"), "in the order of the ids, which have gaps"
    oracle = COCO(str(file))
    expected = np.full((12, 16), 255, np.uint8)
    overlapped = np.zeros((12, 16), bool)
    drawn = [(oracle.annToMask(one).astype(bool), one["category_id"]) for one in oracle.loadAnns(oracle.getAnnIds())]
    for mask, category in sorted(drawn, key=lambda one: -one[0].sum()):
        label = {3: 0, 17: 1, 90: 2}[category]
        overlapped |= mask & (expected != 255) & (expected != label)
        expected[mask] = label
    assert np.array_equal(masks(tmp_path / "out")["a"], expected)
    assert summary.counts["overlapped"] == overlapped.sum() > 0
    assert summary.pixels[2] == (expected == 2).sum()
    assert not summary.unlabelled


def test_unlabelled_pixels_are_asked_about(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    with pytest.raises(UserError, match=r"144 pixels \(75\.0 % of the 1 images\).*background.*ignore"):
        converted(source([SQUARE]))
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"], "nothing is half-written"
    assert converted(source([SQUARE]), unlabelled="background", val=0).names[0] == "background"
    mask = masks(tmp_path / "out")["a"]
    assert (mask == 0).sum() == 144
    assert (mask == 3).sum() == 48


def test_a_class_called_background_takes_them(tmp_path: Path, source: Callable[..., Path], converted: Convert) -> None:
    named = {"categories": [{"id": 90, "name": "Background"}, {"id": 3, "name": "ignore"}]}
    summary = converted(source([SQUARE], [[0, 0, 3, 0, 3, 2, 0, 2]], **named), unlabelled="background", val=0)
    assert summary.names == ("Background",)
    assert np.unique(masks(tmp_path / "out")["a"]).tolist() == [0, 255]


def test_clipped_crossed_and_empty_are_counted(source: Callable[..., Path], converted: Convert) -> None:
    out, crossed, empty = [[-3, 1, 5, 1, 5, 4, -3, 4]], [[0, 0, 8, 8, 8, 0, 0, 8]], [[1, 1, 1, 1, 1, 1]]
    counts = converted(source(out, crossed, empty), unlabelled="ignore").counts
    assert [counts[key] for key in ("clipped", "crossed", "empty")] == [1, 1, 1]


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        ([], "1 annotation without a segmentation (annotation 0)"),
        ([[1, 1, 5, 5]], "1 polygon of fewer than three points (annotation 0)"),
        ([[1, 1, float("nan"), 5, 3, 3]], "1 polygon with something else than finite numbers"),
        ({"size": [12, 16], "counts": [5]}, "run lengths do not fill the image"),
        ([[1, 1, 500, 1, 4, 4]], "1 polygon far outside the image"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, source: Callable[..., Path], converted: Convert, shape: Any, says: str
) -> None:
    with pytest.raises(UserError) as refusal:
        converted(source(shape, [SQUARE]), unlabelled="ignore")
    assert says in str(refusal.value)
    assert "--broken skip" in str(refusal.value)
    summary = converted(source(shape, [SQUARE]), unlabelled="ignore", broken="skip", val=0)
    assert says in "".join(summary.source.notes)
    assert (masks(tmp_path / "out")["a"] == 0).sum() == 48


def test_names_of_other_systems_and_images_without_a_size(
    tmp_path: Path, picture: Picture, source: Callable[..., Path], converted: Convert
) -> None:
    """Back-slashes of Windows, names that macOS wrote, sizes that are left out or written as 12.0."""
    names = ["sub\\b.png", unicodedata.normalize("NFC", "é.png")]
    whole = {"size": [12.0, 16.0], "counts": encode(np.ones((12, 16), bool))["counts"]}
    images = [{"id": 7 + k, "file_name": name} for k, name in enumerate(names)]
    annotations = [{"id": k, "image_id": 7 + k, "category_id": 3, "segmentation": whole} for k in range(2)]
    file = source(images=images, annotations=annotations)
    picture(file.parent / "sub" / "b.png", (12, 16))
    picture(file.parent / unicodedata.normalize("NFD", "é.png"), (12, 16))
    assert converted(file, val=0).pixels == {0: 2 * 12 * 16}
    assert set(masks(tmp_path / "out")) == {"b", unicodedata.normalize("NFD", "é")}


def test_images_that_are_missing_or_cut(tmp_path: Path, converted: Convert, source: Callable[..., Path]) -> None:
    images = [{"id": k, "file_name": f"{k}.png", "height": 12, "width": 16} for k in (1, 2)]
    file = source([SQUARE], images=[*content()["images"], *images])
    (file.parent / "2.png").write_bytes((file.parent / "a.png").read_bytes()[:300])
    with pytest.raises(UserError, match=r"1 image without a file in .*1\.png"):
        converted(file, unlabelled="ignore")
    assert converted(file, unlabelled="ignore", broken="skip").images.total() == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"categories": []}, "0 categories"),
        ({"categories": [{"id": k, "name": f"c{k}"} for k in range(300)]}, "300 classes"),
        ({"categories": [{"id": 90, "name": "car"}, {"id": 3, "name": "car"}]}, "two categories called 'car'"),
        ({"annotations": [{"id": 1, "segments_info": []}]}, "panoptic"),
        ({"images": []}, "no images"),
        ({"annotations": [{"id": 1, "image_id": 7, "category_id": 4, "segmentation": [SQUARE]}]}, "of no category"),
    ],
)
def test_files_that_are_refused(source: Callable[..., Path], converted: Convert, change: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        converted(source([SQUARE], **change), unlabelled="ignore")
