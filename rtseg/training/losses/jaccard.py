"""Soft Jaccard: the score itself as a loss.

B batch, K classes, H, W height and width.
"""

import torch
from torch import Tensor

from rtseg.training.losses.base import LossContext, accurate, register_loss


@register_loss("jaccard")
def jaccard(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    """See `jaccard_loss`."""
    context.check_classes("jaccard", logits)
    return jaccard_loss(logits, mask, ignore_index=context.ignore_index)


def jaccard_loss(logits: Tensor, mask: Tensor, *, ignore_index: int = 255) -> Tensor:
    """1 - mean IoU with probabilities for hard decisions, over the classes in the batch: the score itself, made smooth
    (Rahman and Wang, https://doi.org/10.1007/978-3-319-50835-1_22). Beside cross-entropy it makes thin and rare
    classes count as much as frequent ones.

    Args:
        logits: (B, K, H, W).
        mask: (B, H, W) int64.

    Returns:
        A scalar from 0 to 1; 0, with zero gradients, where every pixel is ignored.
    """
    probability = accurate(logits).softmax(1)
    valid = mask != ignore_index
    true = mask.where(valid, 0)
    of_true = probability.gather(1, true.unsqueeze(1)).squeeze(1) * valid
    hits = probability.new_zeros(logits.shape[1]).index_add(0, true.flatten(), of_true.flatten())
    predicted = (probability * valid.unsqueeze(1)).sum((0, 2, 3))
    pixels = torch.bincount(true[valid], minlength=logits.shape[1])
    present = pixels > 0
    iou = hits[present] / (predicted + pixels - hits)[present]
    return (1 - iou).sum() / present.sum().clamp(min=1)
