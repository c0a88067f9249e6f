"""COCO's annotation files: what is read, and what is refused or left out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from rtseg.data.coco_file import CocoFile, Packed, read_coco
from rtseg.data.rle import encode, encode_list
from rtseg.errors import UserError
from rtseg.tasks.instances.samples import CocoImages, Objects

Content = dict[str, Any]


def opened(root: Path, split: str = "train", **options: Any) -> CocoFile:
    return read_coco(root / f"annotations/instances_{split}2017.json", root / f"{split}2017", **options)


def test_masks_boxes_and_areas_are_those_of_pycocotools(things: Path) -> None:
    images, oracle = CocoImages(opened(things)), COCO(str(things / "annotations/instances_train2017.json"))
    assert images.coco.names == ("disc", "ring", "triangle", "square", "star")
    assert images.coco.ids == (1, 3, 7, 18, 44)
    empty = crowds = 0
    for place, image in enumerate(images.coco.images):
        expected = oracle.loadAnns(oracle.getAnnIds(image.id))
        sample = images[place]
        found = sample.objects
        assert sample.image.shape == (3, 64, 80)
        assert found.masks.shape == (len(expected), 64, 80)
        assert [images.coco.ids[k] for k in found.labels.tolist()] == [one["category_id"] for one in expected]
        assert found.area.tolist() == [one["area"] for one in expected]
        for one, mask, box in zip(expected, found.masks, found.boxes, strict=True):
            assert (mask.numpy() == oracle.annToMask(one)).all()
            left, top, width, height = one["bbox"]
            assert box.tolist() == [left, top, left + width, top + height]
        empty, crowds = empty + (not expected), crowds + int(found.crowd.sum())
        assert not found.trained().crowd.any()
    assert empty
    assert crowds


def test_crowds_and_empty_boxes_are_not_trained_on() -> None:
    masks = torch.ones(4, 6, 8, dtype=torch.bool)
    masks[3] = False
    boxes = torch.tensor([[0, 0, 4, 4], [0, 0, 4, 4], [1, 1, 1, 3], [0, 0, 2, 2]]).float()
    objects = Objects(boxes, torch.arange(4), masks, torch.tensor([False, True, False, False]), torch.ones(4))
    assert objects.trained().labels.tolist() == [0]
    mirrored = objects.flipped()
    assert mirrored.boxes[0].tolist() == [4, 0, 8, 4]
    assert torch.equal(mirrored.flipped().boxes, boxes)


def test_lists_are_packed_into_one_block() -> None:
    items: list[Any] = [[], [[1, 2.5, None]], [{"a": "b"}]]
    packed = Packed(items)
    assert [packed[k] for k in range(3)] == items


def changed(root: Path, out: Path, change: Callable[[Content], Any]) -> Path:
    """An annotation file beside the images of `root`, with one thing changed."""
    content = json.loads((root / "annotations/instances_train2017.json").read_text())
    change(content)
    file = out / "own.json"
    file.write_text(json.dumps(content))
    return file


def of_first(key: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content["annotations"][0].update({key: value})


def of_second(key: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content["annotations"][1].update({key: value})


def of_image(key: str, value: Any) -> Callable[[Content], None]:
    return lambda content: content["images"][0].update({key: value})


FULL = np.ones((64, 80), bool)
FAULTS: list[tuple[Callable[[Content], Any], str]] = [
    (of_first("category_id", 2), r"1 annotation of no category \(annotation 1 of category 2\)"),
    (of_first("image_id", 99), r"1 annotation of no image \(annotation 1 of image 99\)"),
    (of_first("segmentation", [[1, 1, 5, 5, 9]]), r"1 polygon with an odd number of coordinates \(annotation 1\)"),
    (of_first("segmentation", [[1, 1, 5, 5]]), "1 polygon of fewer than three points"),
    (of_first("segmentation", [[1, 1, 5, 5, float("nan"), 1]]), "1 polygon with something else than finite numbers"),
    (of_first("segmentation", [[1, 1, 5, 5, 1e9, 1]]), "1 polygon far outside the image"),
    (of_first("segmentation", []), "1 annotation without a segmentation"),
    (
        of_first("segmentation", {"size": [64, 80], "counts": [7]}),
        "whose run lengths do not fill the image",
    ),
    (
        of_first("segmentation", {"size": [64, 80], "counts": "~"}),
        "whose run lengths do not fill the image",
    ),
    (of_first("segmentation", encode(FULL.T)), "1 annotation whose run lengths have another size than the image"),
    (of_first("segmentation", {"size": [64, 80]}), "1 annotation whose run lengths have no counts"),
    (of_first("bbox", [1, 2, 3]), "1 annotation without a box of four numbers"),
    (of_first("bbox", [5, 5, -3, 3]), "1 annotation whose box has a negative side"),
    (of_first("bbox", [0, 0, 0, 0]), r"1 annotation with an empty box around a mask .* \(annotation 1\)"),
    (of_second("id", 1), r"1 annotation with the number of another \(annotation 1\)"),
    (of_image("file_name", "lost.jpg"), r"1 image without a file in '.*train2017' \(lost\.jpg\)"),
    (of_image("file_name", "../train2017/000000000001.jpg"), "1 image with a name that leads out of the folder"),
    (of_image("height", None), "1 image without height and width"),
    (of_image("id", 2), "1 image with the number of another"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message[:40] for _, message in FAULTS])
def test_a_fault_is_named_and_refused_or_left_out(
    things: Path, tmp_path: Path, change: Callable[[Content], Any], message: str
) -> None:
    file = changed(things, tmp_path, change)
    with pytest.raises(UserError, match=message) as refused:
        read_coco(file, things / "train2017")
    assert "--data.broken=skip" in str(refused.value)
    left = read_coco(file, things / "train2017", broken="skip")
    assert left.skipped is not None
    assert "\n  1 " in left.skipped
    full = opened(things)
    count = sum(len(full.annotations(k)) for k in range(len(full.images)))
    assert len(left.images) in (23, 24)
    assert sum(len(left.annotations(k)) for k in range(len(left.images))) < count
    assert len(CocoImages(left)) == len(left.images)


def test_both_forms_of_run_lengths_are_read(things: Path, tmp_path: Path) -> None:
    for shape in (encode(FULL), encode_list(FULL)):
        file = changed(things, tmp_path, of_first("segmentation", shape))
        images = CocoImages(read_coco(file, things / "train2017"))
        first = next(k for k in range(24) if images.coco.annotations(k))
        assert images[first].objects.masks[0].all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ("[]", "is not in COCO's format"),
        ('{"annotations": [], "categories": []}', "is not in COCO's format"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "lists no images"),
        ('{"images": [{}], "categories": []}', "0 categories with 0 different ids"),
        ('{"images": [{}], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}', "2 categories with 1 "),
        ('{"images": [{}], "categories": [{"name": "a"}]}', "needs a whole number as id and a name"),
        ('{"images": [{}], "categories": [{"id": 1.5, "name": "a"}]}', "needs a whole number as id and a name"),
        ('{"images": [{}], "annotations": 5, "categories": [{"id": 1, "name": "a"}]}', "is not in COCO's format"),
        ('{"images": [{}], "categories": [{"id": 1, "name": "a"}]}', "1 image without a number or file name"),
    ],
)
def test_a_file_that_is_no_annotation_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "own.json").write_text(content)
    broken: Literal["refuse", "skip"]
    for broken in ("refuse", "skip"):
        with pytest.raises(UserError, match=message):
            read_coco(tmp_path / "own.json", tmp_path, broken=broken)


def test_a_missing_file_and_an_image_of_another_size(things: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no annotation file '.*lost\.json'"):
        read_coco(things / "lost.json", things)
    file = changed(
        things,
        tmp_path,
        lambda content: content.update(annotations=[], images=[{**one, "height": 63} for one in content["images"]]),
    )
    images = CocoImages(read_coco(file, things / "train2017"))
    with pytest.raises(UserError, match=r"has 64x80 pixels .*, its annotations are for\s63x80"):
        images[0]
    with pytest.raises(UserError, match=r"has what cannot be used:\n  24 images cut or of another size"):
        read_coco(file, things / "train2017", broken="skip")


def test_images_that_are_cut_or_of_another_size_are_left_out(things: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(things / "train2017", tmp_path / "images")
    first, second = sorted(folder.iterdir())[:2]
    first.write_bytes(first.read_bytes()[:500])
    cv2.imwrite(str(second), np.zeros((10, 20, 3), np.uint8))
    left = read_coco(things / "annotations/instances_train2017.json", folder, broken="skip")
    assert f"2 images cut or of another size than annotated ({first.name}, {second.name})" in (left.skipped or "")
    assert [image.path for image in left.images] == sorted(folder.iterdir())[2:]
    assert all(len(left.annotations(k)) == len(CocoImages(left)[k].objects.labels) for k in range(22))
