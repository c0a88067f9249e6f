"""Weights for PSMNet under its authors' names, as the golden vectors were made with them."""

import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def authors_state(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """The values of each entry follow from its name, see the README beside the vectors."""
    return {key: _values(key, shape) for key, shape in shapes.items()}


def _values(key: str, shape: Sequence[int]) -> Tensor:
    rng = np.random.RandomState(zlib.crc32(key.encode()))
    if len(shape) >= 4:
        values = rng.standard_normal(shape) * np.sqrt(2 / (np.prod(shape[2:]) * shape[0]))
    elif key.endswith("running_var"):
        values = rng.uniform(0.5, 1.5, shape)
    elif key.endswith("weight"):
        values = rng.uniform(0.8, 1.2, shape)
    elif key.endswith("num_batches_tracked"):
        return torch.zeros(list(shape), dtype=torch.int64)
    else:
        values = rng.standard_normal(shape) * 0.1
    return torch.from_numpy(np.asarray(values)).float()
