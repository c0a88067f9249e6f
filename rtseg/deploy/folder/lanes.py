"""Small images side by side through a network on a CPU, each on its part of the cores.

The threads of one image wait for each other after every layer; those of two images do not. So cores that have an image
each segment more images a second, the more so the smaller they are (`benchmarks/predict_folder.py`). A large image has
all cores, since it would gain little, and each image in work takes memory.
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch

from rtseg.deploy.asked import AUTO
from rtseg.deploy.beside import beside
from rtseg.deploy.device import torch_threads
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.predictor import Predictor

MOST_LANES = 4  # each holds the weights and the feature maps of an image
SMALL = 2**20  # pixels of an image at most
_IMAGES = 8  # for each lane, since an engine takes some time to build

Found = TypeVar("Found")


class Lane:
    """A predictor in one of several threads. The first small image of each lane builds the lane's own engine.

    Args:
        predictor: does larger images, one at a time, on all threads that the calling thread has now.
        small: does small images.
        threads: for these.
    """

    def __init__(self, predictor: Predictor, small: Predictor, threads: int) -> None:
        self._large, self._small = (predictor, torch.get_num_threads()), (small, threads)

    def predict(self, use: Callable[[Predictor, np.ndarray], Found], image: np.ndarray) -> Found:
        """What `use` makes of (H, W, 3) uint8 RGB."""
        predictor, threads = self._small if image.shape[0] * image.shape[1] <= SMALL else self._large
        with torch_threads(threads):
            return use(predictor, image)


def lanes(predictor: Predictor, images: int) -> list[Lane]:
    """The lanes for so many images: one for each core of a CPU and every eight images, at most 4.

    One alone on a GPU, for an engine that is built for one size, and for an exported file that takes large images.
    """
    threads, runner = torch.get_num_threads(), predictor.runner
    any_size = runner.engine == AUTO or parse_backend(runner.engine)[0].open_sizes
    small_inputs = math.prod(side or 1 for side in runner.shape) <= SMALL  # a file's, whatever size the images have
    many = min(threads, MOST_LANES, images // _IMAGES)
    if many <= 1 or runner.device.type != "cpu" or not any_size or not small_inputs:
        return [Lane(predictor, predictor, threads)]
    smalls = [copy.copy(predictor) for _ in range(many)]
    for small, own in zip(smalls, beside(runner, many), strict=True):
        small.runner = own
    return [Lane(predictor, small, threads // many) for small in smalls]


def resized_note(height: int, width: int) -> str:
    """What is said where an exported file of one size is given images of another."""
    return (
        f"images are resized to {height}x{width} (height x width), the size of this export; class maps have the size "
        "of their image. Resizing changes the result: the checkpoint takes images of any size, or export it again with "
        "--input-size and the size of your images (docs/deploy.md)"
    )
