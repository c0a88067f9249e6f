"""`rtseg predict --polygons` and `--margin`: what is in the files is compared with the prediction itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from rtseg.data.polygons import area
from rtseg.data.rle import decode
from rtseg.deploy.drawing.margin_png import margin_png
from rtseg.deploy.folder.coco import annotations, write_coco
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """In two folders."""
    paths = [tmp_path / "in" / name for name in ("a.png", "b/c.jpg")]
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (40, 56 + seed, 3), np.uint8))
    return paths


@pytest.fixture
def predictor(segmenter: Segmenter) -> Predictor:
    return Predictor(segmenter, device="cpu", engine="eager:fp32")


def predict(predictor: Predictor, images: list[Path], out: Path, **options: Any) -> None:
    margin = options.pop("margin", False)
    outputs = Outputs(overlays=False, margin=margin)
    assert predict_files(predictor, [images[0].parent], out, outputs=outputs, **options) == {}


def masks(annotation: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    """The pixels of an annotation; polygons along edges are drawn at twice the size, where edges are pixels."""
    found = annotation["segmentation"]
    if isinstance(found, dict):
        return decode(found)
    assert sum(map(area, found)) == annotation["area"]
    fine = np.zeros((4 * size[0], 4 * size[1]), np.uint8)
    rings = [np.array(ring, np.int32).reshape(-1, 2) * 4 for ring in found]
    cv2.fillPoly(fine, rings, (1,))
    return fine[2::4, 2::4] > 0


@pytest.mark.parametrize("ids", [(), (5, 300, 7, 0)])
def test_the_file_has_every_pixel_of_every_class(
    tmp_path: Path, images: list[Path], segmenter: Segmenter, ids: tuple[int, ...]
) -> None:
    if ids:
        ids = (*ids, *range(1000, 1000 + segmenter.card.num_classes - len(ids)))
    segmenter.card = replace(segmenter.card, ids=ids)
    predictor = Predictor(segmenter, device="cpu", engine="eager:fp32")
    predict(predictor, images, tmp_path / "out")
    assert write_coco(tmp_path / "new" / "coco.json", tmp_path / "out") == 2
    coco = json.loads((tmp_path / "new" / "coco.json").read_text())
    assert [one["name"] for one in coco["categories"]] == list(predictor.class_names)
    assert [one["id"] for one in coco["categories"]] == list(range(1, 1 + len(predictor.class_names)))
    assert [(one["id"], one["file_name"], one["height"], one["width"]) for one in coco["images"]] == [
        (1, "a.png", 40, 56),
        (2, "b/c.jpg", 40, 57),
    ]
    assert [one["id"] for one in coco["annotations"]] == list(range(1, len(coco["annotations"]) + 1))
    for number, path in enumerate(images, 1):
        expected = predictor(path)
        mine = [one for one in coco["annotations"] if one["image_id"] == number]
        assert [one["category_id"] - 1 for one in mine] == np.unique(expected).tolist()
        for one in mine:
            mask = masks(one, (expected.shape[0], expected.shape[1]))
            assert np.array_equal(mask, expected == one["category_id"] - 1)
            assert one["area"] == mask.sum()


def test_holes_become_run_lengths_and_boxes_are_exact() -> None:
    class_map = np.zeros((6, 7), np.uint8)
    class_map[1:4, 2:6] = 3
    around, square = annotations(class_map)
    assert around["segmentation"]["size"] == [6, 7]
    assert square == {
        "category_id": 4, "segmentation": [[2, 1, 2, 4, 6, 4, 6, 1]], "area": 12, "bbox": [2, 1, 4, 3], "iscrowd": 0,
    }  # fmt: skip


def test_pycocotools_reads_it(tmp_path: Path, images: list[Path], predictor: Predictor) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    predict(predictor, images, tmp_path / "out")
    write_coco(tmp_path / "coco.json", tmp_path / "out")
    read = coco.COCO(str(tmp_path / "coco.json"))
    for number, path in enumerate(images, 1):
        expected = predictor(path)
        found = read.loadAnns(read.getAnnIds(imgIds=[number]))
        assert len(found) == len(np.unique(expected))
        for one in found:
            assert np.array_equal(read.annToMask(one) > 0, expected == one["category_id"] - 1)


def test_resumed_results_are_in_it_and_damaged_ones_refused(
    tmp_path: Path, images: list[Path], predictor: Predictor
) -> None:
    predict(predictor, images, tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    predict(predictor, images, tmp_path / "out", resume=True)
    assert write_coco(tmp_path / "coco.json", tmp_path / "out") == 2
    before = (tmp_path / "coco.json").read_bytes()
    cv2.imwrite(str(tmp_path / "out" / "a.png"), np.full((40, 56), 99, np.uint8))
    with pytest.raises(UserError, match=r"a\.png' has ids of no class"):
        write_coco(tmp_path / "coco.json", tmp_path / "out")
    (tmp_path / "out" / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png' is not a class map"):
        write_coco(tmp_path / "coco.json", tmp_path / "out")
    assert (tmp_path / "coco.json").read_bytes() == before
    with pytest.raises(UserError, match="there are no results"):
        write_coco(tmp_path / "coco.json", tmp_path)


def test_margins_are_thousandths(tmp_path: Path, images: list[Path], predictor: Predictor) -> None:
    predict(predictor, images, tmp_path / "out", margin=True)
    for path, name in zip(images, ("a", "b/c"), strict=True):
        found = cv2.imread(str(tmp_path / "out" / f"{name}_margin.png"), cv2.IMREAD_UNCHANGED)
        assert found is not None
        assert found.dtype == np.uint16
        assert np.array_equal(found, np.rint(predictor.predict(path).margin * 1000))
    (tmp_path / "out" / "a_margin.png").unlink()
    predict(predictor, images, tmp_path / "out", margin=True, resume=True)
    assert (tmp_path / "out" / "a_margin.png").is_file()
    predict(predictor, images, tmp_path / "out", overwrite=True)
    assert not list((tmp_path / "out").rglob("*_margin.png"))


def test_large_margins_are_the_largest_number() -> None:
    encoded = margin_png(np.array([[0.0, 0.0004, 1.5, 65.6, np.inf]], np.float32))
    found = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.tolist() == [[0, 0, 1500, 65535, 65535]]
