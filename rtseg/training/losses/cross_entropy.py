"""Cross-entropy over pixels, safe on crops that hold nothing but ignored pixels.

B batch, K classes, H, W height and width.
"""

import torch.nn.functional as F
from torch import Tensor

from rtseg.training.losses.base import SMALLEST, LossContext, accurate, register_loss
from rtseg.training.losses.config import LossConfig


@register_loss("cross_entropy")
def cross_entropy(logits: Tensor, mask: Tensor, context: LossContext) -> Tensor:
    """See `pixel_loss`; over the pixels of all processes."""
    context.check_classes("cross_entropy", logits)
    return context.mean(*pixel_sums(logits, mask, context.config, ignore_index=context.ignore_index))


def pixel_loss(logits: Tensor, mask: Tensor, config: LossConfig, *, ignore_index: int = 255) -> Tensor:
    """Mean cross-entropy over the labelled (and, with OHEM, hard) pixels.

    Args:
        logits: (B, K, H, W).
        mask: (B, H, W) int64.

    Returns:
        A scalar; 0, with zero gradients, where every pixel is ignored.

    Raises:
        UserError: `class_weights` of another number than the classes.
    """
    total, count = pixel_sums(logits, mask, config, ignore_index=ignore_index)
    return total / count.clamp(min=SMALLEST)


def pixel_sums(logits: Tensor, mask: Tensor, config: LossConfig, *, ignore_index: int = 255) -> tuple[Tensor, Tensor]:
    """Numerator and denominator of `pixel_loss`: losses, and how many pixels, or how much class weight, they are of."""
    logits = accurate(logits)
    weights = config.listed_weights(logits.shape[1])
    weight = None if weights is None else logits.new_tensor(weights)
    losses = F.cross_entropy(logits, mask, weight, ignore_index=ignore_index, reduction="none").flatten()
    valid = mask.flatten() != ignore_index
    counted = valid.to(losses.dtype)
    if weight is not None:
        counted = counted * weight[mask.flatten().where(valid, 0)]
    if config.ohem:
        keep = _hard_pixels(logits.detach(), mask, valid, config)
        losses, counted = losses * keep, counted * keep
    elif config.top_fraction < 1:
        losses, hardest = losses.topk(int(config.top_fraction * len(losses)))
        counted = counted[hardest]
    return losses.sum(), counted.sum()


def _hard_pixels(logits: Tensor, mask: Tensor, valid: Tensor, config: LossConfig) -> Tensor:
    """Which of the flattened pixels OHEM keeps, (B * H * W,) bool."""
    safe = mask.flatten().where(valid, 0).view_as(mask)
    probability = logits.softmax(1).gather(1, safe.unsqueeze(1)).flatten()
    if config.ohem_min_pixels >= int(valid.sum()):
        return valid
    threshold = probability[valid].kthvalue(max(config.ohem_min_pixels, 1)).values.clamp(min=config.ohem_threshold)
    return valid & (probability <= threshold)
