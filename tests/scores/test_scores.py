"""The scores of one evaluation: against plain counting, other programs' definitions, and themselves as JSON."""

import json
import math

import cv2
import numpy as np
import pytest
import torch

from rtseg import metrics
from rtseg.errors import UserError
from rtseg.scores import ImageCounts, Scores
from rtseg.scores.bootstrap import mean_iou, miou_interval
from rtseg.scores.boundary import boundary_counts, check_width, distance
from rtseg.scores.picture import confusion_picture
from rtseg.scores.scores import image_counts


def drawn(number: int, num_classes: int, absent: int = 0) -> tuple[torch.Tensor, np.ndarray]:
    """The confusion matrices of some images; the last classes occur in none."""
    rng = np.random.default_rng(number)
    each = rng.integers(0, 50, (number, num_classes, num_classes))
    each[:, num_classes - absent :, :] = 0
    each[:, :, num_classes - absent :] = 0
    tensors = torch.from_numpy(each)
    return tensors.sum(0), np.stack([image_counts(one).numpy() for one in tensors])


def test_table_notes_and_json_say_the_same() -> None:
    confusion, counts = drawn(8, 4, absent=1)
    scores = Scores(("sky", "road", "car", "tree"), confusion, ImageCounts(tuple("abcdefgh"), counts))
    table = scores.table()
    assert table.title == f"mIoU {scores.miou:.4f}   pixel accuracy {scores.accuracy:.4f}"
    assert table.rows[3][:3] == ["tree", "does not occur", None]
    found = json.loads(scores.json())
    assert found["miou"] == metrics.mean_iou(confusion).item()
    assert found["miou_paddleseg"] == pytest.approx((3 * found["miou"] + 1) / 4)
    assert found["classes"][3] == {"name": "tree", "pixels": 0, "iou": None, "precision": None, "recall": None,
                                   "dice": None}  # fmt: skip
    assert found["classes"][0]["dice"] == metrics.dice(confusion)[0].item()
    assert found["confusion"] == confusion.tolist()
    worst = [image["miou"] for image in found["images"]]
    assert worst == sorted(worst)
    assert len(worst) == 8
    assert found["interval"]["low"] < found["miou"] < found["interval"]["high"]
    notes = " ".join(scores.notes())
    for part in ("1000 draws, seed 0", f"PaddleSeg's mIoU {found['miou_paddleseg']:.4f}", found["images"][0]["name"]):
        assert part in notes


def test_nothing_labelled_is_no_number() -> None:
    scores = Scores(("a", "b"), torch.zeros(2, 2, dtype=torch.int64), ImageCounts(("x",), np.zeros((1, 3, 2), int)))
    found = json.loads(scores.json())
    assert found["miou"] is None
    assert found["accuracy"] is None
    assert found["images"] == []
    assert math.isnan(scores.miou)
    assert scores.notes() is not None


def test_bootstrap_is_that_of_images_drawn_one_by_one() -> None:
    _, counts = drawn(12, 5, absent=1)
    rng = np.random.default_rng(0)
    plain = []
    for _ in range(1000):
        total = counts[rng.integers(12, size=12)].sum(0)
        plain.append(np.nanmean([h / (t + p - h) if t + p - h else np.nan for h, t, p in total.T.tolist()]))
    interval = miou_interval(counts)
    assert interval is not None
    assert interval[:2] == pytest.approx(np.quantile(plain, [0.025, 0.975]).tolist(), abs=1e-12)
    assert miou_interval(counts[:1]) is None
    assert mean_iou(counts).shape == (12,)


def eroded(mask: np.ndarray, d: int) -> np.ndarray:
    """The boundary of one mask, by the steps that the paper describes."""
    padded = cv2.copyMakeBorder(mask, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=d)
    return mask - inner[1:-1, 1:-1]


@pytest.mark.parametrize(("num_classes", "size"), [(3, (40, 60)), (19, (150, 201)), (5, (7, 3))])
def test_boundaries_are_those_of_erosion(num_classes: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    truth, other = (
        cv2.resize(rng.integers(0, num_classes, (5, 6), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        for _ in range(2)
    )
    pred, d = np.where(rng.random(size) < 0.9, truth, other), distance(size)
    counts = boundary_counts(pred, truth, num_classes)
    for k in range(num_classes):
        mine, theirs = (eroded((one == k).astype(np.uint8), d) for one in (truth, pred))
        assert [(mine & theirs).sum(), mine.sum(), theirs.sum()] == counts[:, k].tolist()


def test_unlabelled_pixels_make_no_boundary() -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[20:40, 20:40] = 255
    counts = boundary_counts(np.where(mask == 255, 1, 0), mask, 2, width=0.03)
    edge = 60**2 - (60 - 2 * 3) ** 2
    assert counts.tolist() == [[edge, 0]] * 3
    with pytest.raises(UserError, match=r"0\.02"):
        check_width("--boundary", 2)


@pytest.mark.parametrize("num_classes", [1, 3, 25, 150])
def test_picture(num_classes: int) -> None:
    confusion, _ = drawn(3, num_classes)
    picture = confusion_picture(Scores(tuple(f"class {k}" for k in range(num_classes)), confusion))
    assert picture.width == picture.height < 1300
