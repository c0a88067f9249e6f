"""PIDNet's losses of the boundaries between classes: where they are, and which classes are beside them.

Xu et al., https://arxiv.org/abs/2206.02066. The authors find boundaries in each label file, before it is scaled and
cropped. Here they are found in the mask that is learnt, so that they have one width at every scale.

B batch, K classes, H, W height and width.
"""

import torch.nn.functional as F
from torch import Tensor

from rtseg.errors import UserError
from rtseg.training.losses.base import LossContext, accurate, register_loss
from rtseg.training.losses.cross_entropy import pixel_sums

WIDTH = 4  # pixels of a boundary, half of them on each side, as the authors dilate it
CERTAIN = 0.8  # probability from which a pixel is at a boundary


@register_loss("boundary")
def boundary(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    """Cross-entropy of "a boundary is here", in which all boundary pixels count as much as all others.

    Args:
        logits: (B, 1, H, W).
        mask: (B, H, W) int64.
    """
    there, valid = boundaries(mask, ignore_index=context.ignore_index), mask != context.ignore_index
    positive, negative = valid & there, valid & ~there
    count = valid.sum().clamp(min=1)
    weight = (positive * negative.sum() + negative * positive.sum()) / count
    score = accurate(logits[:, 0])
    losses = F.binary_cross_entropy_with_logits(score, there.to(score), weight.to(score), reduction="sum")
    return losses / count


@register_loss("cross_entropy_at_boundary")
def cross_entropy_at_boundary(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    """`cross_entropy` over the pixels that output "boundary" is certain of.

    Args:
        logits: (B, K, H, W).
        mask: (B, H, W) int64.

    Raises:
        UserError: there is no output "boundary".
    """
    if "boundary" not in context.outputs:
        raise UserError(
            "loss 'cross_entropy_at_boundary' reads the output 'boundary', and the model has "
            f"{', '.join(context.outputs)}: give its backbone that output, or another loss"
        )
    there = context.outputs["boundary"][:, 0].detach().sigmoid() > CERTAIN
    mask = mask.where(there, context.ignore_index)
    return context.mean(*pixel_sums(logits, mask, context.config, ignore_index=context.ignore_index))


def boundaries(mask: Tensor, *, ignore_index: int = 255) -> Tensor:
    """(B, H, W) class numbers -> (B, H, W) bool: where another class is within `WIDTH` / 2 pixels, diagonals too.

    An ignored pixel is of no class, so that none is found between a class and what is ignored.
    """
    ignored = mask == ignore_index
    largest = _largest_near(mask.masked_fill(ignored, -1))
    smallest = -_largest_near(-mask.masked_fill(ignored, _ABOVE_ALL))
    return (largest > smallest) & ~ignored


_ABOVE_ALL = 2**15


def _largest_near(values: Tensor) -> Tensor:
    """(B, H, W) -> the largest value in the square of `WIDTH` + 1 pixels around each, as far as it is inside."""
    return F.max_pool2d(values.float(), WIDTH + 1, stride=1, padding=WIDTH // 2)
