"""Which images to look at, so that every class is seen."""

from collections.abc import Sequence

import numpy as np

from rtseg.data.dataset import SegmentationDataset

_LOOKED_AT = 200  # label files, spread over the data set
_ENOUGH = 0.02  # share of an image from which on a class counts as well seen


def choose_images(dataset: SegmentationDataset, indices: Sequence[int], count: int, most: int) -> list[int]:
    """The images that together show every class, as far as `most` images can.

    Args:
        dataset: the pairs.
        indices: the images to choose from; at most 200 of them are looked at, spread evenly.
        count: how many; more only where they show another class.
        most: the highest number.

    Returns:
        Indices, ascending.
    """
    some = list(indices[:: max(1, -(-len(indices) // _LOOKED_AT))])
    shares = np.stack([_shares(dataset, index) for index in some]) if some else np.zeros((0, 1))
    return sorted(some[row] for row in cover(shares, count, most))


def cover(shares: np.ndarray, count: int, most: int) -> list[int]:
    """Rows that together cover the columns: the one that adds most first.

    Args:
        shares: (N, K), at least 0: how much image n shows of class k.
        count: rows, as far as there are; those that nothing asks for are spread.
        most: rows where more than `count` are needed to cover every column.

    Returns:
        Row numbers, in the order of their choice.
    """
    seen = np.minimum(shares, _ENOUGH)
    seen = seen / np.maximum(seen.max(0, initial=0), 1e-12)  # 1: as well as any image shows the class
    best = np.zeros(seen.shape[1])
    chosen: list[int] = []
    while len(chosen) < min(most, len(seen)):
        new = ((seen > 0) & (best == 0)).sum(1)
        better = np.maximum(seen - best, 0).sum(1) / (seen.shape[1] + 1)  # below 1: a new class counts more
        row = int((new + better).argmax())
        if (len(chosen) >= count and not new[row]) or new[row] + better[row] < 1e-9:
            break
        chosen.append(row)
        best = np.maximum(best, seen[row])
    rest = [row for row in range(len(seen)) if row not in chosen]
    missing = max(0, min(count - len(chosen), len(rest)))
    return chosen + [rest[round(k * (len(rest) - 1) / max(missing - 1, 1))] for k in range(missing)]


def _shares(dataset: SegmentationDataset, index: int) -> np.ndarray:
    """Share of the pixels of each class in an image's label file."""
    mask = dataset.mask(index)
    return np.bincount(mask.ravel(), minlength=256)[: len(dataset.labels.names)] / max(1, mask.size)
