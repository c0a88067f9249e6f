"""The recipe's images: random scale, crop, flip and colour distortion for training, the resize rule for evaluation.

PaddleSeg's recipe for RTFormer, in its order, as albumentations transforms; our own where albumentations' differ.
"""

import math
import random
from collections.abc import Sequence
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch

from rtseg.checks import check_between
from rtseg.data.dataset import IGNORE, Sample
from rtseg.data.evaluation import check_eval_resize, evaluation_size, resize_for_evaluation
from rtseg.data.resized_part import resized_part
from rtseg.errors import UserError

PAD = 127  # grey level around small images; the reference's 127.5 cast to uint8
LARGEST_SCALE = 16  # a photograph of 12 million pixels would fill 9 GB
HUE_STEPS = 256  # PIL's hue circle
_PIECE = 2**14  # pixels
Factors = tuple[tuple[str, float], ...]


class ScaledCrop(A.DualTransform):
    """Resizes by one of `scales`, equally likely, pads right and below to the crop, and cuts the crop out uniformly.

    Image bilinear, label nearest, sides round(scale * side). Only what the crop shows is resized.

    Args:
        crop: (height, width) of the result.
        pad: grey level around the image, or one for each channel.
    """

    def __init__(
        self, scales: Sequence[float], crop: tuple[int, int], pad: float | Sequence[float] = PAD, p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        self.scales, self.crop, self.pad = tuple(scales), tuple(crop), np.array(pad, np.float32)

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        draw = self.py_random
        scale = draw.choice(self.scales)
        size = tuple(max(1, round(scale * side)) for side in data["mask"].shape)  # the image may be decoded smaller
        corner = tuple(
            int((max(side, crop) - crop + 1) * draw.random()) for side, crop in zip(size, self.crop, strict=True)
        )
        return {"size": size, "corner": corner}

    def apply(self, img: np.ndarray, **place: Any) -> np.ndarray:
        pad = self.pad.round() if img.dtype == np.uint8 else self.pad
        return self._part(img, cv2.INTER_LINEAR, pad, **place)

    def apply_to_mask(self, mask: np.ndarray, **place: Any) -> np.ndarray:
        return self._part(mask, cv2.INTER_NEAREST, IGNORE, **place)

    def _part(
        self, array: np.ndarray, interpolation: int, fill: int | np.ndarray, *, size: tuple[int, int],
        corner: tuple[int, int], **params: Any,
    ) -> np.ndarray:  # fmt: skip
        height, width = (min(side, crop) for side, crop in zip(size, self.crop, strict=True))
        part = resized_part(array, size, corner, (height, width), interpolation)
        if (height, width) == self.crop:
            return part
        padded = np.full((*self.crop, *array.shape[2:]), fill, array.dtype)
        padded[:height, :width] = part
        return padded


class Distort(A.ImageOnlyTransform):
    """Brightness, contrast, saturation and hue in random order, each drawn with probability 1/2.

    The first three draw a factor from 1 -+ `strength` (PIL's ImageEnhance); hue turns by -`hue`..`hue` of 256 steps.
    """

    def __init__(self, strength: float = 0.4, hue: float = 18.0, p: float = 1.0) -> None:
        super().__init__(p=p)
        self.strength = strength
        self.hue = hue

    def get_params(self) -> dict[str, Any]:
        draw = self.py_random
        steps = []
        for step in draw.sample(sorted(DISTORTIONS), k=len(DISTORTIONS)):
            amount = draw.uniform(-self.hue, self.hue) if step == "hue" else 1 + draw.uniform(-1, 1) * self.strength
            if draw.random() < 0.5:
                steps.append((step, amount))
        return {"steps": tuple(steps)}

    def apply(self, img: np.ndarray, steps: Factors, **params: Any) -> np.ndarray:
        for step, amount in steps:
            img = DISTORTIONS[step](img, amount)
        return img


def single_thread_opencv() -> None:
    """For loader processes: OpenCV's own threads would fight those of the training for the cores."""
    cv2.setNumThreads(0)


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """HWC uint8 RGB; factor 0 is black, 1 the image."""
    return _stretch(image, factor, 0)


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """HWC uint8 RGB; factor 0 is the mean grey, 1 the image."""
    return _stretch(image, factor, int(cv2.mean(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))[0] + 0.5))


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """HWC uint8 RGB; factor 0 is the grey version, 1 the image."""
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(image, factor, grey, 1 - factor, 0)


def hue(image: np.ndarray, steps: float) -> np.ndarray:
    """HWC uint8 RGB, colours turned by whole steps of 1/256 of the circle, rounded down.

    In float, which is more exact than OpenCV's 8-bit HSV and faster than PIL's; the turn is never negative, which
    OpenCV would not wrap. Piece by piece, so that the floats stay in the processor's cache.
    """
    turn = np.float32(math.floor(steps) % HUE_STEPS * 360 / HUE_STEPS)
    out = np.empty_like(image, order="C")
    rows = max(1, _PIECE // image.shape[1])
    for top in range(0, len(image), rows):
        colours = image[top : top + rows].astype(np.float32)
        hsv: np.ndarray = cv2.cvtColor(colours, cv2.COLOR_RGB2HSV)
        hsv[..., 0] += turn
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=colours)
        cv2.convertScaleAbs(colours, dst=out[top : top + rows])
    return out


def _stretch(image: np.ndarray, factor: float, centre: int) -> np.ndarray:
    """centre + factor * (value - centre), clipped and truncated like PIL's blend."""
    values = centre + factor * (np.arange(256) - centre)
    return cv2.LUT(image, values.clip(0, 255).astype(np.uint8))


DISTORTIONS = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}


class TrainAugment:
    """The training recipe: random scale, pad right and bottom, uniform crop, horizontal flip, colour distortion.

    Args:
        crop_size: (height, width) of every output.
        scales: factors of the random scale, equally likely.
        flip: probability of the horizontal flip.
        distort: whether to change colours.
        pad: grey level around small images, or one for each channel.
    """

    def __init__(
        self,
        crop_size: tuple[int, int],
        scales: Sequence[float] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
        flip: float = 0.5,
        distort: bool = True,
        pad: float | Sequence[float] = PAD,
    ) -> None:
        if len(crop_size) != 2 or min(crop_size) < 1:
            raise UserError(f"crop_size is (height, width), both at least 1, not {crop_size}; e.g. [360, 480]")
        if not scales or min(scales) <= 0:
            raise UserError(f"scales are factors above 0, not {list(scales)}; e.g. [0.5, 1.0, 2.0], or [1.0] for none")
        for scale in scales:
            check_between("scales", scale, 0, LARGEST_SCALE, "it multiplies the sides of every training image")
        check_between("flip", flip, 0, 1, "it is a probability")
        steps: list[A.BasicTransform] = [ScaledCrop(scales, crop_size, pad), A.HorizontalFlip(p=flip)]
        self._pipeline = A.Compose(steps + [Distort()] * distort, is_check_shapes=False)
        self._scales = tuple(scales)

    def shrink(self, seed: int) -> int:
        """2, 4 or 8 where the scale that `seed` draws is no larger than a half, quarter or eighth; else 1."""
        draw = random.Random(seed)
        draw.random()  # Compose's, whether to run at all
        scale = draw.choice(self._scales)
        return next((shrink for shrink in (8, 4, 2) if scale * shrink <= 1), 1)

    def __call__(self, sample: Sample[np.ndarray], seed: int) -> Sample[torch.Tensor]:
        """Image HWC and mask HW uint8 of any size -> image CHW of the same type and mask HW uint8 at the crop size.

        The image may be smaller than its mask (`SegmentationDataset.shrunk`): the scale is of the mask's sides.

        The draws depend on `seed` (>= 0) alone, so they are the same in every worker and after a resume.
        """
        # One stream for all transforms: Compose.set_random_seed would give each of them the same numbers, so that a
        # large scale always met the lower right corner and no flip.
        self._pipeline.set_random_state(np.random.default_rng(seed), random.Random(seed))
        image = sample.image[..., 0] if sample.image.shape[2] == 1 else sample.image  # as OpenCV resizes it
        out = self._pipeline(image=image, mask=sample.mask)
        return _to_tensors(sample, out["image"], out["mask"])


class EvalTransform:
    """The evaluation rule of a data set. The mask always keeps its own size; logits are resized to it.

    Args:
        resize: see `evaluation_size`.
    """

    def __init__(self, resize: tuple[int, int] | None = None) -> None:
        check_eval_resize(resize)
        self.resize = resize

    def __call__(self, sample: Sample[np.ndarray]) -> Sample[torch.Tensor]:
        """Image HWC, mask HW uint8 -> image CHW of the same type at the evaluation size, mask HW uint8 at its own."""
        return _to_tensors(sample, resize_for_evaluation(sample.image, self.resize), sample.mask)

    def input_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of an image -> (height, width) the network sees."""
        return evaluation_size(size, self.resize)


def _to_tensors(sample: Sample[np.ndarray], image: np.ndarray, mask: np.ndarray) -> Sample[torch.Tensor]:
    """Both stay of their type on their way to the device, where the network's module converts them."""
    image = image if image.ndim == 3 else image[..., None]
    pixels = np.empty((image.shape[2], *image.shape[:2]), image.dtype)
    cv2.split(image, list(pixels))  # a third of the time of NumPy's transposed copy
    return Sample(torch.from_numpy(pixels), torch.from_numpy(np.array(mask)), sample.name, sample.size)
