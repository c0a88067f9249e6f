"""Cross-entropy over pixels, safe on crops that hold nothing but ignored pixels.

B batch, K classes, H, W height and width.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from rtseg.errors import UserError


@dataclass(frozen=True)
class LossConfig:
    """What the network is trained to lower.

    Attributes:
        aux_weight: weight of the auxiliary head's loss beside the main one's 1; 0: it teaches nothing.
        ohem: learn from hard pixels only (online hard example mining).
        ohem_threshold: a pixel is hard while its true class has at most this probability.
        ohem_min_pixels: how many of the hardest pixels of a batch are kept in any case.
        top_fraction: average only this fraction of all pixels, those with the largest loss; 1 means all.
        class_weights: one factor a class, or none.
        jaccard_weight: weight of `jaccard_loss` of the main head; 0 for none.
    """

    aux_weight: float = 0.4
    ohem: bool = False
    ohem_threshold: float = 0.7
    ohem_min_pixels: int = 10000
    top_fraction: float = 1.0
    class_weights: tuple[float, ...] | None = None
    jaccard_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.aux_weight < 0:
            raise UserError(
                f"loss.aux_weight={self.aux_weight} must not be negative; 0 switches the auxiliary loss off"
            )
        if self.jaccard_weight < 0:
            raise UserError(f"loss.jaccard_weight={self.jaccard_weight} must not be negative; 0 switches it off")
        if not 0 < self.ohem_threshold < 1:
            raise UserError(
                f"loss.ohem_threshold={self.ohem_threshold} is a probability: choose it between 0 and 1, as 0.7"
            )
        if not 0 < self.top_fraction <= 1:
            raise UserError(f"loss.top_fraction={self.top_fraction} must be above 0 and at most 1")
        if self.ohem and self.top_fraction < 1:
            raise UserError("loss.ohem and loss.top_fraction both choose hard pixels: use one of them")


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
    logits = logits.float()
    weight = None
    if config.class_weights is not None:
        if len(config.class_weights) != logits.shape[1]:
            raise UserError(
                f"loss.class_weights has {len(config.class_weights)} entries for {logits.shape[1]} classes; "
                "give one each"
            )
        weight = logits.new_tensor(config.class_weights)
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
    return losses.sum() / counted.sum().clamp(min=1e-8)


def _hard_pixels(logits: Tensor, mask: Tensor, valid: Tensor, config: LossConfig) -> Tensor:
    """Which of the flattened pixels OHEM keeps, (B * H * W,) bool."""
    safe = mask.flatten().where(valid, 0).view_as(mask)
    probability = logits.softmax(1).gather(1, safe.unsqueeze(1)).flatten()
    if config.ohem_min_pixels >= int(valid.sum()):
        return valid
    threshold = probability[valid].kthvalue(max(config.ohem_min_pixels, 1)).values.clamp(min=config.ohem_threshold)
    return valid & (probability <= threshold)


def jaccard_loss(logits: Tensor, mask: Tensor, *, ignore_index: int = 255) -> Tensor:
    """1 - mean IoU with probabilities for hard decisions, over the classes in the batch: the score itself, made smooth
    (Rahman and Wang, https://doi.org/10.1007/978-3-319-50835-1_22). Beside cross-entropy it speaks for thin and rare
    classes, each of which counts as much as the road.

    Args:
        logits: (B, K, H, W).
        mask: (B, H, W) int64.

    Returns:
        A scalar from 0 to 1; 0, with zero gradients, where every pixel is ignored.
    """
    probability = logits.float().softmax(1)
    valid = mask != ignore_index
    true = mask.where(valid, 0)
    of_true = probability.gather(1, true.unsqueeze(1)).squeeze(1) * valid
    hits = probability.new_zeros(logits.shape[1]).index_add(0, true.flatten(), of_true.flatten())
    predicted = (probability * valid.unsqueeze(1)).sum((0, 2, 3))
    pixels = torch.bincount(true[valid], minlength=logits.shape[1])
    present = pixels > 0
    iou = hits[present] / (predicted + pixels - hits)[present]
    return (1 - iou).sum() / present.sum().clamp(min=1)


def segmentation_loss(
    main: Tensor, aux: Tensor, mask: Tensor, config: LossConfig, *, ignore_index: int = 255
) -> Tensor:
    """Loss of the main head plus `aux_weight` times that of the auxiliary head, plus the main head's Jaccard loss."""
    # Computed for a weight of 0 as well: DistributedDataParallel waits for a gradient of every parameter.
    auxiliary = pixel_loss(aux, mask, config, ignore_index=ignore_index)
    loss = pixel_loss(main, mask, config, ignore_index=ignore_index) + config.aux_weight * auxiliary
    if config.jaccard_weight:
        loss = loss + config.jaccard_weight * jaccard_loss(main, mask, ignore_index=ignore_index)
    return loss
