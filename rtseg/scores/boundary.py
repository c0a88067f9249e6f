"""Boundary IoU (Cheng et al., 2021, arXiv 2103.16562): IoU of the pixels near the outlines of a class alone.

The boundary of a class in a map are its pixels at most `d` pixels (in rows and columns: a square window) from a pixel
of another class or from the edge of the image, as the paper's program erodes masks. Choices where the paper is about
one mask at a time: pixels without a label belong to no map and make no boundary, and the counts of a class are summed
over all images before they are divided, as for mIoU.

H, W size of a map, K classes.
"""

import numpy as np

from rtseg.checks import check_between

WIDTH = 0.02  # share of an image's diagonal; the paper's
Counts = np.ndarray  # (3, K) int64: pixels of both boundaries with the right class, of the truth's, of the prediction's


def check_width(option: str, width: float) -> None:
    """Raises: UserError where it is no share of the diagonal."""
    check_between(option, width, 1e-4, 0.5, f"it is a share of the image's diagonal, {WIDTH} in the paper")


def distance(size: tuple[int, int], width: float = WIDTH) -> int:
    """How many pixels a boundary is wide in an image of (H, W)."""
    return max(1, round(width * float(np.hypot(*size))))


def boundary_counts(
    pred: np.ndarray, mask: np.ndarray, num_classes: int, *, width: float = WIDTH, ignore_index: int = 255
) -> Counts:
    """Counts of one image. pred, mask: (H, W) class numbers below 254."""
    labelled = mask != ignore_index
    d = distance((mask.shape[0], mask.shape[1]), width)
    truth = np.where(labelled, mask, 0).astype(np.int64)
    found = np.where(labelled, pred, 0).astype(np.int64)
    of_truth, of_found = (labelled & _near_another(one, labelled, d) for one in (truth, found))
    both = of_truth & of_found & (truth == found)
    parts = (truth[both], truth[of_truth], found[of_found])
    return np.stack([np.bincount(part, minlength=num_classes) for part in parts])


def boundary_iou(counts: Counts) -> np.ndarray:
    """The boundary IoU of each class, (K,) float64; NaN where neither map has the class."""
    hits, truth, found = counts.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return hits / (truth + found - hits)


def _near_another(classes: np.ndarray, labelled: np.ndarray, d: int) -> np.ndarray:
    """(H, W) bool: whether a labelled pixel of another class, or the edge, is at most d pixels away."""
    numbers = (classes + 1).astype(np.uint8)
    highest = _sliding(np.where(labelled, numbers, 0).astype(np.uint8), d, np.maximum, 0)
    lowest = _sliding(np.where(labelled, numbers, 255).astype(np.uint8), d, np.minimum, 255)
    found = (highest != numbers) | (lowest != numbers)
    found[:d], found[-d:], found[:, :d], found[:, -d:] = True, True, True, True
    return found


def _sliding(values: np.ndarray, d: int, largest: np.ufunc, neutral: int) -> np.ndarray:
    """The largest (or smallest) of each (2d + 1)² window, in few passes: windows of 1, 2, 4, ... pixels."""
    for axis in (0, 1):
        values = np.moveaxis(np.pad(values, [(d, d) if a == axis else (0, 0) for a in (0, 1)],
                                    constant_values=neutral), axis, 0)  # fmt: skip
        side, window = 1, 2 * d + 1
        while side < window:
            step = min(side, window - side)
            values = largest(values[:-step], values[step:])
            side += step
        values = np.moveaxis(values, 0, axis)
    return values
