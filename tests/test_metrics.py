from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rtseg import metrics


def test_equals_paddleseg(shared: Path) -> None:
    golden = np.load(shared / "golden" / "metrics.npz")
    counts = metrics.confusion_matrix(torch.from_numpy(golden["pred"]), torch.from_numpy(golden["label"]), 6)
    assert counts.diagonal().tolist() == golden["intersect"].tolist()
    assert counts.sum(0).tolist() == golden["pred_area"].tolist()
    assert counts.sum(1).tolist() == golden["label_area"].tolist()
    assert metrics.paddle_mean_iou(counts).item() == pytest.approx(float(golden["miou"]), abs=1e-9)
    assert metrics.pixel_accuracy(counts).item() == pytest.approx(float(golden["acc"]), abs=1e-9)
    assert metrics.kappa(counts).item() == pytest.approx(float(golden["kappa"]), abs=1e-9)
    for ours, key in ((metrics.precision, "precision"), (metrics.recall, "recall"), (metrics.dice, "dice")):
        np.testing.assert_allclose(ours(counts).nan_to_num(0), golden[f"class_{key}"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(metrics.iou(counts).nan_to_num(1), golden["class_iou"], rtol=0, atol=1e-9)


def test_absent_class_does_not_count() -> None:
    counts = metrics.confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 255]), 3)
    assert metrics.iou(counts).isnan().tolist() == [False, False, True]
    assert metrics.mean_iou(counts) == 1
    assert counts.sum() == 2


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 3, 255])), min_size=1))
def test_iou_by_counting(pairs: list[tuple[int, int]]) -> None:
    pred, mask = (torch.tensor(values) for values in zip(*pairs, strict=True))
    ours = metrics.iou(metrics.confusion_matrix(pred, mask, 4))
    for k in range(4):
        both = sum(p == k and m == k for p, m in pairs)
        either = sum(m != 255 and (p == k or m == k) for p, m in pairs)
        assert ours[k].isnan() if not either else ours[k].item() == pytest.approx(both / either)
