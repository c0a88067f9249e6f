"""The training pipelines of two other frameworks, written out from their published configurations with OpenCV, NumPy
and Pillow: what a loader process does with one image and its label file.

A pipeline is a tuple of named steps, each a function of a `Draft`; `rtseg`'s own is in `augmentation.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageEnhance

IGNORE = 255
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)


@dataclass
class Draft:
    """An image and its labels on the way to a sample.

    Attributes:
        crop: (height, width) that the network trains on.
        image: HWC, until the last step makes `tensors` of it.
    """

    files: tuple[Path, Path]
    crop: tuple[int, int]
    rng: np.random.Generator
    image: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mask: np.ndarray = field(default_factory=lambda: np.zeros(0))
    tensors: tuple[torch.Tensor, torch.Tensor] | None = None


Step = Callable[[Draft], None]
Pipeline = tuple[tuple[str, Step], ...]


def random_flip(draft: Draft) -> None:
    """Horizontally, with probability 1/2: both frameworks."""
    if draft.rng.random() < 0.5:
        draft.image, draft.mask = cv2.flip(draft.image, 1), cv2.flip(draft.mask, 1)


# mmsegmentation: LoadImageFromFile, LoadAnnotations, RandomResize(ratio_range=(0.5, 2.0), keep_ratio=True),
# RandomCrop(cat_max_ratio=0.75), RandomFlip(prob=0.5), PhotoMetricDistortion, PackSegInputs. It normalises on the
# device, as rtseg does.


def load_image(draft: Draft) -> None:
    """LoadImageFromFile: uint8 BGR."""
    draft.image = np.asarray(cv2.imdecode(np.frombuffer(draft.files[0].read_bytes(), np.uint8), cv2.IMREAD_COLOR))


def load_annotations(draft: Draft) -> None:
    """LoadAnnotations: the label file through Pillow."""
    with Image.open(draft.files[1]) as file:
        draft.mask = np.array(file)


def random_resize(draft: Draft) -> None:
    """RandomResize: a scale from 0.5 to 2, sides in proportion; image bilinear, labels nearest."""
    height, width = draft.image.shape[:2]
    scale = draft.rng.uniform(0.5, 2.0)
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    draft.image = cv2.resize(draft.image, size, interpolation=cv2.INTER_LINEAR)
    draft.mask = cv2.resize(draft.mask, size, interpolation=cv2.INTER_NEAREST)


def random_crop(draft: Draft) -> None:
    """RandomCrop: up to ten more places where one class fills 75 % of the labelled pixels or more."""
    for _ in range(11):
        top, left = (
            int(draft.rng.integers(0, max(have - want, 0) + 1))
            for have, want in zip(draft.mask.shape, draft.crop, strict=True)
        )
        part = slice(top, top + draft.crop[0]), slice(left, left + draft.crop[1])
        values, counts = np.unique(draft.mask[part], return_counts=True)
        counts = counts[values != IGNORE]
        if len(counts) > 1 and counts.max() / counts.sum() < 0.75:
            break
    draft.image, draft.mask = draft.image[part], draft.mask[part]


def _convert(values: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
    return np.clip(values.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)


def photo_metric_distortion(draft: Draft) -> None:
    """PhotoMetricDistortion: brightness, contrast before or after colours, saturation, hue; each in half of them."""
    rng, image = draft.rng, draft.image
    if rng.integers(2):
        image = _convert(image, beta=rng.uniform(-32, 32))
    contrast_first = rng.integers(2)
    if contrast_first and rng.integers(2):
        image = _convert(image, alpha=rng.uniform(0.5, 1.5))
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[..., 1] = _convert(hsv[..., 1], alpha=rng.uniform(0.5, 1.5))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if rng.integers(2):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.integers(-18, 18)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    if not contrast_first and rng.integers(2):
        image = _convert(image, alpha=rng.uniform(0.5, 1.5))
    draft.image = image


def pack(draft: Draft) -> None:
    """PackSegInputs: image CHW uint8, labels int64. What is smaller than the crop is padded, as in its batches."""
    image = torch.from_numpy(np.ascontiguousarray(draft.image.transpose(2, 0, 1)))
    mask = torch.from_numpy(draft.mask.astype(np.int64))
    missing = (0, draft.crop[1] - mask.shape[1], 0, draft.crop[0] - mask.shape[0])
    if any(missing):
        pad = torch.nn.functional.pad
        image, mask = pad(image, missing, value=0), pad(mask, missing, value=IGNORE)
    draft.tensors = image, mask


MMSEGMENTATION: Pipeline = (
    ("read the image", load_image), ("read the labels", load_annotations), ("scale", random_resize),
    ("crop", random_crop), ("flip", random_flip), ("distort", photo_metric_distortion), ("to tensors", pack),
)  # fmt: skip


# PaddleSeg: ResizeStepScaling(0.5, 2.0, 0.25), RandomPaddingCrop, RandomHorizontalFlip, RandomDistort(0.4, 0.4, 0.4),
# Normalize. Images are float32 from the beginning.


def load_float(draft: Draft) -> None:
    """The image as float32 RGB."""
    image = np.asarray(cv2.imread(str(draft.files[0]), cv2.IMREAD_COLOR))
    draft.image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB).astype(np.float32)


def step_scaling(draft: Draft) -> None:
    """ResizeStepScaling: one of seven scales; image bilinear, labels nearest."""
    height, width = draft.image.shape[:2]
    scale = 0.5 + 0.25 * draft.rng.integers(7)
    size = round(scale * width), round(scale * height)
    draft.image = cv2.resize(draft.image, size, interpolation=cv2.INTER_LINEAR)
    draft.mask = cv2.resize(draft.mask, size, interpolation=cv2.INTER_NEAREST)


def padding_crop(draft: Draft) -> None:
    """RandomPaddingCrop: padded right and below, then any place."""
    (height, width), (want_height, want_width) = draft.mask.shape, draft.crop
    below, right = max(want_height - height, 0), max(want_width - width, 0)
    if below or right:
        border = (0, below, 0, right, cv2.BORDER_CONSTANT)
        draft.image = cv2.copyMakeBorder(draft.image, *border, value=(127.5,) * 3)
        draft.mask = cv2.copyMakeBorder(draft.mask, *border, value=IGNORE)
    top = draft.rng.integers(draft.mask.shape[0] - want_height + 1)
    left = draft.rng.integers(draft.mask.shape[1] - want_width + 1)
    part = slice(top, top + want_height), slice(left, left + want_width)
    draft.image, draft.mask = draft.image[part], draft.mask[part]


def random_distort(draft: Draft) -> None:
    """RandomDistort: brightness, contrast, saturation, hue in random order through Pillow; each in half of them."""
    image = Image.fromarray(draft.image.astype(np.uint8))
    enhancers = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color, None]
    for index in draft.rng.permutation(len(enhancers)):
        if draft.rng.random() < 0.5:
            continue
        if (enhancer := enhancers[index]) is not None:
            image = enhancer(image).enhance(draft.rng.uniform(0.6, 1.4))
        else:
            hsv = np.array(image.convert("HSV"))
            hsv[..., 0] = hsv[..., 0] + draft.rng.uniform(-18, 18)
            image = Image.fromarray(hsv, mode="HSV").convert("RGB")
    draft.image = np.asarray(image).astype(np.float32)


def normalize(draft: Draft) -> None:
    """Normalize and the order of the network: image CHW float32, labels int64."""
    image = (draft.image / np.float32(255) - MEAN) / STD
    mask = torch.from_numpy(draft.mask.astype(np.int64))
    draft.tensors = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), mask


PADDLESEG: Pipeline = (
    ("read the image", load_float), ("read the labels", load_annotations), ("scale", step_scaling),
    ("crop", padding_crop), ("flip", random_flip), ("distort", random_distort), ("to tensors", normalize),
)  # fmt: skip
