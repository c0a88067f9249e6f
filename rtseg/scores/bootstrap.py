"""How far a score would move with other images of the same kind: the bootstrap over images (Efron, 1979).

Images are drawn anew, with replacement, as many as there are; of each draw the score is computed. The interval holds
the middle of these scores. It says nothing of other weather, cities or seeds of the training.
"""

from typing import NamedTuple

import numpy as np

RESAMPLES, SEED, LEVEL = 1000, 0, 0.95
_AT_ONCE = 50


class Interval(NamedTuple):
    """Between which values the score of so many of the draws lies."""

    low: float
    high: float
    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = SEED


def miou_interval(counts: np.ndarray) -> Interval | None:
    """The interval of mIoU; None of fewer than two images.

    Args:
        counts: (N, 3, K): of each image and class the pixels that are right, labelled so, and predicted so.
    """
    number, _, num_classes = counts.shape
    if number < 2:
        return None
    flat = counts.reshape(number, -1).astype(np.float64)
    random = np.random.default_rng(SEED)
    scores = []
    for first in range(0, RESAMPLES, _AT_ONCE):
        drawn = random.integers(number, size=(min(_AT_ONCE, RESAMPLES - first), number))
        times = np.stack([np.bincount(one, minlength=number) for one in drawn]).astype(np.float64)
        scores.append(mean_iou((times @ flat).reshape(-1, 3, num_classes)))
    every = np.concatenate(scores)
    every = every[~np.isnan(every)]
    if not len(every):
        return None
    low, high = np.quantile(every, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def mean_iou(counts: np.ndarray) -> np.ndarray:
    """(..., 3, K) counts -> (...) mean over the classes that occur or are predicted; NaN where none does."""
    hits, truth, found = np.moveaxis(counts.astype(np.float64), -2, 0)
    union = truth + found - hits
    there = union > 0
    iou = np.divide(hits, union, out=np.zeros_like(hits), where=there)
    number = there.sum(-1)
    return np.divide(iou.sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0)
