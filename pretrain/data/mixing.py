"""Random erasing, then Mixup or CutMix with soft targets, on the device; timm's."""

import random
from dataclasses import dataclass

import numpy as np
import torch
from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.data.random_erasing import RandomErasing
from torch import Tensor

from rtseg.checks import check_at_least, check_below, check_between


@dataclass(frozen=True)
class MixConfig:
    """The defaults are RTFormer's Table 1, and where it is silent Swin's, whose recipe it follows.

    Attributes:
        random_erasing: probability that a rectangle of an image becomes noise.
        mixup, cutmix: alphas of the Beta distributions that the share of the second image is drawn from; 0 for none.
        prob: probability that a batch is mixed at all.
        switch_prob: probability that it is CutMix where both are on.
        label_smoothing: mass that is spread over all classes.
    """

    random_erasing: float = 0.25
    mixup: float = 0.2
    cutmix: float = 1.0
    prob: float = 1.0
    switch_prob: float = 0.5
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        for name in ("random_erasing", "prob", "switch_prob"):
            check_between(f"mix.{name}", getattr(self, name), 0, 1, "it is a probability")
        for name in ("mixup", "cutmix"):
            check_at_least(f"mix.{name}", getattr(self, name), 0, "0 switches it off")
        check_below("mix.label_smoothing", self.label_smoothing, 0, 1)

    @property
    def mixes(self) -> bool:
        """Whether images of a batch are ever mixed."""
        return self.prob > 0 and (self.mixup > 0 or self.cutmix > 0)


class Mixing:
    """Images (B, 3, H, W) normalised, labels (B,) -> the images as the network gets them, soft targets (B, K)."""

    def __init__(self, config: MixConfig, num_classes: int) -> None:
        self.config, self.num_classes = config, num_classes
        self.erasing = RandomErasing(config.random_erasing, mode="pixel")
        self.mixup: Mixup | None = None
        if config.mixes:
            self.mixup = Mixup(
                mixup_alpha=config.mixup, cutmix_alpha=config.cutmix, prob=config.prob, switch_prob=config.switch_prob,
                label_smoothing=config.label_smoothing, num_classes=num_classes,
            )  # fmt: skip

    def __call__(self, image: Tensor, label: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """All that is random is a function of `seed`; the process's generators are left wherever that leads."""
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        if self.config.random_erasing:
            self.erasing.device = image.device  # where its noise is drawn
            image = self.erasing(image)
        if self.mixup is not None:
            return self.mixup(image, label)
        return image, mixup_target(label, self.num_classes, smoothing=self.config.label_smoothing)
