"""Things on a table: exact masks of each, and the same in COCO's files."""

import json
from functools import cache
from pathlib import Path

import numpy as np

from rtseg.data import rle
from rtseg.scenes import make_data
from rtseg.scenes.coco_layout import CATEGORY_IDS
from rtseg.scenes.things import THINGS, Thing, draw_things

SIZE = (96, 128)


@cache
def many() -> list[tuple[np.ndarray, list[Thing]]]:
    return [draw_things(np.random.default_rng([5, k]), SIZE) for k in range(150)]


def test_each_kind_empty_images_and_crowds_occur() -> None:
    things = [thing for _, found in many() for thing in found]
    assert {thing.kind for thing in things} == set(range(len(THINGS)))
    assert any(thing.crowd for thing in things)
    assert any(not found for _, found in many())
    assert all(image.shape == (*SIZE, 3) and image.dtype == np.uint8 for image, _ in many())


def test_a_pixel_belongs_to_one_thing_that_differs_from_the_table() -> None:
    for image, things in many():
        if not things:
            continue
        masks = np.stack([thing.mask for thing in things])
        assert masks.any((1, 2)).all()
        assert masks.sum(0).max() == 1
        table = np.median(image[~masks.any(0)], 0)
        assert all(abs(np.median(image[mask], 0) - table).max() > 25 for mask in masks if mask.sum() > 50)


def test_the_same_numbers_draw_the_same_image() -> None:
    again, _ = draw_things(np.random.default_rng([5, 3]), SIZE)
    assert (again == many()[3][0]).all()


def test_the_files_hold_what_was_drawn(tmp_path: Path) -> None:
    root = make_data("coco", 30, tmp_path / "data", n_val=3, size=SIZE, seed=5)
    train, val = (json.loads((root / f"annotations/instances_{s}2017.json").read_text()) for s in ("train", "val"))
    assert [len(part["images"]) for part in (train, val)] == [30, 3]
    assert [(one["id"], one["name"]) for one in train["categories"]] == list(zip(CATEGORY_IDS, THINGS, strict=True))
    assert all((root / "val2017" / image["file_name"]).is_file() for image in val["images"])
    assert {image["height"] for image in val["images"]} == {SIZE[0]}
    kinds = set()
    for k in range(30):
        _, things = draw_things(np.random.default_rng([5, 0, k]), SIZE)
        own = [one for one in train["annotations"] if one["image_id"] == k + 1]
        assert [one["category_id"] for one in own] == [CATEGORY_IDS[thing.kind] for thing in things]
        assert [one["area"] for one in own] == [thing.mask.sum() for thing in things]
        for one, thing in zip(own, things, strict=True):
            shape = one["segmentation"]
            kinds.add(type(shape["counts"] if isinstance(shape, dict) else shape[0][0]))
            assert isinstance(shape, list) or (rle.decode(shape) == thing.mask).all()
            assert one["iscrowd"] == thing.crowd == (isinstance(shape, dict) and isinstance(shape["counts"], list))
    assert kinds == {str, list, int}, "rings have compressed run lengths, crowds a list, others polygons"
