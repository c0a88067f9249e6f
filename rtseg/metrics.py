"""Segmentation scores from one confusion matrix, in plain torch, so that training and deployment count the same way.

K classes; a confusion matrix is (K, K) int64, rows the ground truth, columns the prediction. A class that neither
occurs nor is predicted scores NaN.
"""

import torch
from torch import Tensor


def confusion_matrix(pred: Tensor, mask: Tensor, num_classes: int, *, ignore_index: int = 255) -> Tensor:
    """Counts pixels. pred, mask: integers of one shape; pixels whose mask is `ignore_index` do not count.

    -> (K, K) int64.
    """
    valid = mask != ignore_index
    cells = mask[valid].long() * num_classes + pred[valid].long()
    return torch.bincount(cells, minlength=num_classes**2).view(num_classes, num_classes)


def iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, (K,) float64; NaN where the union is empty."""
    hits = confusion.diagonal().double()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean over the classes that occur in the ground truth or in the prediction."""
    return iou(confusion).nanmean()


def paddle_mean_iou(confusion: Tensor) -> Tensor:
    """PaddleSeg's mean IoU: over all classes, where one that neither occurs nor is predicted counts as 1.

    For comparison with its published figures.
    """
    return iou(confusion).nan_to_num(1.0).mean()


def pixel_accuracy(confusion: Tensor) -> Tensor:
    """Share of the labelled pixels that are right."""
    return confusion.diagonal().sum() / confusion.sum().double()


def precision(confusion: Tensor) -> Tensor:
    """Share of the pixels predicted as a class that are of it, (K,); NaN where it is never predicted."""
    return confusion.diagonal() / confusion.sum(0).double()


def recall(confusion: Tensor) -> Tensor:
    """Share of a class's pixels that are found, (K,); NaN where it never occurs."""
    return confusion.diagonal() / confusion.sum(1).double()


def dice(confusion: Tensor) -> Tensor:
    """2 |A ∩ B| / (|A| + |B|) of each class, (K,); NaN where both are empty."""
    return 2 * confusion.diagonal() / (confusion.sum(0) + confusion.sum(1)).double()


def kappa(confusion: Tensor) -> Tensor:
    """Cohen's kappa: agreement beyond chance."""
    total = confusion.sum().double()
    chance = (confusion.sum(0) / total * (confusion.sum(1) / total)).sum()
    return (pixel_accuracy(confusion) - chance) / (1 - chance)
