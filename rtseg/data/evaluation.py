"""The size at which a data set's evaluation shows an image to the network; a deployed network follows it."""

import math

import cv2
import numpy as np

from rtseg.errors import UserError

EVAL_MULTIPLE = 32  # of both sides of an image that is resized


def check_eval_resize(resize: tuple[int, int] | None) -> None:
    """Raises:
    UserError: neither None nor (short side, long side).
    """
    if resize is not None and (len(resize) != 2 or min(resize) < 1 or resize[0] > resize[1]):
        raise UserError(f"resize is (short side, long side) or null, not {resize}; ADE20K's is [512, 2048]")


def evaluation_size(size: tuple[int, int], resize: tuple[int, int] | None) -> tuple[int, int]:
    """(height, width) of an image -> (height, width) that the network sees.

    Args:
        resize: None shows it as it is (CamVid, Cityscapes). (short, long) scales it in proportion by
            min(long / long side, short / short side), then stretches both sides up to a multiple of 32; ADE20K's is
            (512, 2048).
    """
    if resize is None:
        return size
    scale = min(resize[1] / max(size), resize[0] / min(size))
    scaled = (int(side * scale + 0.5) for side in size)
    height, width = (max(1, math.ceil(side / EVAL_MULTIPLE)) * EVAL_MULTIPLE for side in scaled)
    return height, width


def resize_for_evaluation(image: np.ndarray, resize: tuple[int, int] | None) -> np.ndarray:
    """(H, W, C) -> the same at `evaluation_size`."""
    height, width = evaluation_size((image.shape[0], image.shape[1]), resize)
    if (height, width) == image.shape[:2]:
        return image
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized if resized.ndim == image.ndim else resized[..., None]  # OpenCV drops a single channel
