"""Augmentation of images for ImageNet training and evaluation: timm's transforms.

Random erasing, normalisation and Mixup follow on the device, batch by batch.
"""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from timm.data.auto_augment import RandAugment
from timm.data.transforms_factory import transforms_imagenet_eval, transforms_imagenet_train
from torch import Tensor
from torch.utils.data import get_worker_info

from rtseg.checks import check_above, check_at_least, check_between, check_fraction, check_one_of
from rtseg.errors import UserError

Transform = Callable[[Image.Image], Tensor]
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos")
# timm leaves out what it does not understand, without a word.
_RANDAUGMENT = re.compile(r"rand(-(m|n|mmax)\d+|-(p|mstd)\d+(\.\d+)?|-inc[01]|-t(weights|3a|3aw))*")


@dataclass(frozen=True)
class AugmentConfig:
    """The defaults are those of RTFormer's pre-training (its appendix, Table 1).

    Attributes:
        image_size: side of what the network gets, in training and evaluation.
        randaugment: in timm's notation; "rand-m9-mstd0.5-inc1" is magnitude 9, deviation 0.5. Empty: none.
        color_jitter: largest relative change of brightness, contrast and saturation; besides RandAugment.
        scale, ratio: area (share of the image's) and width/height of the random crop.
        flip: probability of the horizontal flip.
        interpolation: one of `INTERPOLATIONS`.
        crop_pct: evaluation crops the centre of an image whose short side is `image_size / crop_pct`.
    """

    image_size: int = 224
    randaugment: str = "rand-m9-mstd0.5-inc1"
    color_jitter: float = 0.4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    interpolation: str = "bicubic"
    crop_pct: float = 0.875

    def __post_init__(self) -> None:
        check_at_least("augment.image_size", self.image_size, 1, "ImageNet's is 224")
        if self.randaugment and not _RANDAUGMENT.fullmatch(self.randaugment):
            raise UserError(
                f"augment.randaugment='{self.randaugment}' is not in timm's notation: 'rand' and parts like -m9 "
                "(magnitude), -n2 (operations), -p0.5 (probability), -mstd0.5 (deviation), -mmax10 (its maximum), "
                "-inc1, -tweights, -t3a or -t3aw (set of operations); as in rand-m9-mstd0.5-inc1. Empty for none"
            )
        check_at_least("augment.color_jitter", self.color_jitter, 0, "0 is for none")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise UserError(f"augment.scale={list(self.scale)} must be two shares of the area, as in [0.08, 1.0]")
        for side in self.ratio:
            check_above("augment.ratio", side, 0, "it is width / height, as [0.75, 1.33]")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise UserError(f"augment.ratio={list(self.ratio)} must be two positive numbers, the smaller first")
        check_between("augment.flip", self.flip, 0, 1, "it is a probability")
        check_one_of("augment.interpolation", self.interpolation, INTERPOLATIONS)
        check_fraction("augment.crop_pct", self.crop_pct, "ImageNet's is 0.875")


def train_transform(config: AugmentConfig) -> Transform:
    """RGB image -> (3, S, S) uint8. It draws from the global generators: see `seeded`."""
    transform = transforms_imagenet_train(
        config.image_size,
        scale=config.scale,
        ratio=config.ratio,
        hflip=config.flip,
        color_jitter=config.color_jitter,
        force_color_jitter=True,  # dropped otherwise where there is RandAugment; create_transform has no such switch
        auto_augment=config.randaugment or None,
        interpolation=config.interpolation,
        normalize=False,
    )
    for step in transform.transforms:
        for operation in step.ops if isinstance(step, RandAugment) else ():
            if operation.name.startswith("Posterize"):
                operation.aug_fn = _posterize
    return transform


def _posterize(image: Image.Image, bits: int, **_: Any) -> Image.Image:
    """timm's goes down to 0 bits, a black image, which Pillow 13 refuses."""
    return ImageOps.posterize(image, max(bits, 1)) if bits < 8 else image


def eval_transform(config: AugmentConfig) -> Transform:
    """RGB image -> (3, S, S) uint8: the short side to `image_size / crop_pct`, then the centre."""
    return transforms_imagenet_eval(
        config.image_size, crop_pct=config.crop_pct, interpolation=config.interpolation, normalize=False
    )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Makes what draws from the generators of Python, NumPy and PyTorch (CPU) a function of 64 bits, and leaves these
    generators as they were: a sample is the same in a worker and in the training's own process.
    """
    # A worker has no numbers of its own to keep, and keeping NumPy's costs as much as a step of the augmentation.
    keep = get_worker_info() is None
    if keep:
        python, numpy, pytorch = random.getstate(), np.random.get_state(), torch.default_generator.get_state()
    random.seed(seed)
    np.random.seed((seed & 0xFFFFFFFF, seed >> 32))
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        if keep:
            random.setstate(python)
            np.random.set_state(numpy)
            torch.default_generator.set_state(pytorch)
