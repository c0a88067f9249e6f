"""Average precision equals that of pycocotools, from the same annotation file and the same predictions."""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtseg.data import rle
from rtseg.data.coco_file import read_coco
from rtseg.scenes import make_data
from rtseg.tasks.instances import coco_library, scores
from rtseg.tasks.instances.detections import Detections
from rtseg.tasks.instances.samples import CocoImages, Sample
from rtseg.tasks.instances.scores import InstanceScores

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", None, None, "ar")  # in the order of COCOeval.stats


def guess(sample: Sample, rng: np.random.Generator, *, many: bool) -> Detections:
    """Predictions that are right, shifted, of another class, doubled, missing, or of nothing at all."""
    height, width = sample.image.shape[1:]
    masks, labels = [], []
    for label, mask in zip(sample.objects.labels.tolist(), sample.objects.masks.numpy(), strict=True):
        for _ in range(rng.integers(0, 4)):
            shift = rng.integers(-3, 4, 2)
            masks.append(np.roll(mask, shift, (0, 1)))
            labels.append(label if rng.random() < 0.8 else int(rng.integers(5)))
    for _ in range(130 if many else rng.integers(0, 3)):
        top, left = rng.integers(0, height - 9), rng.integers(0, width - 9)
        mask = np.zeros((height, width), bool)
        mask[top : top + rng.integers(3, 30), left : left + rng.integers(3, 30)] = True
        masks.append(mask)
        labels.append(int(rng.integers(5)))
    boxes = []
    for mask in masks:
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append(np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) + rng.normal(0, 0.4, 4).round(2))
    return Detections(
        torch.tensor(np.array(boxes)).float().reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(rng.random(len(masks))).float(),
        torch.tensor(np.array(masks, bool).reshape(-1, height, width)),
    )


def as_results(found: Detections, image: int, ids: tuple[int, ...]) -> list[dict[str, Any]]:
    """In the format of COCO's result files."""
    return [
        {
            "image_id": image, "category_id": ids[label], "score": score, "segmentation": rle.encode(mask.numpy()),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for box, label, score, mask in zip(
            found.boxes.double().tolist(), found.labels.tolist(), found.scores.tolist(), found.masks, strict=True
        )
    ]  # fmt: skip


def oracle(file: Path, results: list[dict[str, Any]], kind: str) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(file))
        own = [{k: v for k, v in one.items() if k != ("segmentation" if kind == "bbox" else "bbox")} for one in results]
        evaluation = COCOeval(truth, truth.loadRes(own), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def check_equal(root: Path, number: int, *, many: bool = False) -> None:
    file = root / "annotations/instances_train2017.json"
    images, counted, results = CocoImages(read_coco(file, root / "train2017")), InstanceScores(), []
    rng = np.random.default_rng(0)
    assert any(not images.coco.annotations(k) for k in range(number))
    assert any(one.crowd for k in range(number) for one in images.coco.annotations(k))
    for place in range(number):
        found = guess(images[place], rng, many=many and place == 3)
        counted.update(found, images[place].objects)
        results += as_results(found, images.coco.images[place].id, images.coco.ids)
    own = counted.compute(images.coco.names)
    for kind, coco_kind in (("mask", "segm"), ("box", "bbox")):
        expected = oracle(file, results, coco_kind)
        for name, value in zip(NAMES, expected.stats, strict=False):
            if name is not None:
                score = own[f"{kind}_{name}"]
                assert score == pytest.approx(value if value >= 0 else float("nan"), abs=1e-6, nan_ok=True), name
        assert 0.05 < own[f"{kind}_ap"] < 0.95
        precision = expected.eval["precision"]
        for k, name in enumerate(images.coco.names):
            values = precision[:, :, k, 0, -1]
            value = values[values > -1].mean() if (values > -1).any() else float("nan")
            assert own[f"{kind}_ap_{name}"] == pytest.approx(value, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("library", ["faster_coco_eval", "pycocotools"])
def test_scores_equal_those_of_pycocotools(library: str, things: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "backend", lambda: library)
    check_equal(things, 24)


@pytest.mark.slow
def test_scores_equal_those_of_pycocotools_on_many_images_of_three_sizes(tmp_path: Path) -> None:
    check_equal(make_data("coco", 300, tmp_path / "data", n_val=1, seed=8), 300, many=True)


def test_perfect_predictions_score_one_and_none_score_zero(things: Path) -> None:
    images = CocoImages(read_coco(things / "annotations/instances_val2017.json", things / "val2017"))
    perfect, silent = InstanceScores(), InstanceScores()
    for place in range(len(images)):
        own = images[place].objects
        found = Detections(own.boxes, own.labels, torch.ones(len(own.labels)), own.masks)
        perfect.update(Detections(*(value[~own.crowd] for value in found)), own)
        silent.update(Detections(*(value[:0] for value in found)), own)
    best, worst = perfect.compute(images.coco.names), silent.compute(images.coco.names)
    assert (best["mask_ap"], best["box_ap"], worst["mask_ap"]) == (1, 1, 0)
    again = perfect.compute(images.coco.names)
    assert np.isnan(again["mask_ap"]), "the images are forgotten"


def test_the_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_library, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ValueError, match=r"pip install 'rtseg\[detection\]'"):
        coco_library.backend()
    monkeypatch.setattr(coco_library, "find_spec", lambda name: None if name == "faster_coco_eval" else json)
    assert coco_library.backend() == "pycocotools"


def _score_a_share(rank: int, root: Path, file: str) -> None:
    """One of two processes, which score 5 and 3 images."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    images = CocoImages(read_coco(root / "annotations/instances_val2017.json", root / "val2017"))
    counted = InstanceScores()
    for place in range(8)[:5] if rank == 0 else range(8)[5:]:
        counted.update(guess(images[place], np.random.default_rng(place), many=False), images[place].objects)
    torch.save(counted.compute(images.coco.names), f"{file}.{rank}")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_with_unequal_numbers_of_images_score_all_of_them(things: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "meet")
    torch.multiprocessing.spawn(_score_a_share, (things, file), nprocs=2)
    images = CocoImages(read_coco(things / "annotations/instances_val2017.json", things / "val2017"))
    alone = InstanceScores()
    for place in range(8):
        alone.update(guess(images[place], np.random.default_rng(place), many=False), images[place].objects)
    expected = alone.compute(images.coco.names)
    for rank in range(2):
        assert torch.load(f"{file}.{rank}") == pytest.approx(expected, abs=1e-6, nan_ok=True)
