"""By how much one class leads another at some pixels of a class map, without upsampling the others."""

import numpy as np
from torch import Tensor

from rtseg.deploy.class_map.taps import Taps, taps


def leads(
    logits: Tensor,
    size: tuple[int, int],
    pixels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    *,
    between: tuple[int, int] | None = None,
) -> np.ndarray:
    """The upsampled logit of one class minus that of another at N pixels; upsampled as `class_map` does.

    Args:
        logits: (1, K, h, w) float32 on the CPU.
        size: (H, W) of the class map.
        pixels: (N,) positions in the flat class map.
        first, second: (N,) class numbers at these pixels.
        between: a size of at least (h, w) to which the logits are upsampled first; None for one step.

    Returns:
        (N,) float32.
    """
    _, _, h, w = logits.shape
    flat = logits.numpy().reshape(-1)
    tall, wide = between or size
    rows, columns = taps(h, tall, size[0]), taps(w, wide, size[1])
    y, x = np.divmod(pixels, size[1])
    i, j = _begin(rows)[y], _begin(columns)[x]
    one, other = first.astype(np.intp) * (h * w), second.astype(np.intp) * (h * w)
    down = []
    for row in range(rows.logits.max()):
        beside = np.minimum(i + row, h - 1) * w
        places = [beside + np.minimum(j + column, w - 1) for column in range(columns.logits.max())]
        down.append(_combined([flat[one + place] - flat[other + place] for place in places], columns, x))
    return _combined(down, rows, y)


def _begin(along: Taps) -> np.ndarray:
    """The index of the first logit that each position combines."""
    return np.repeat(along.first, np.diff(along.start)).astype(np.intp)


def _combined(values: list[np.ndarray], along: Taps, at: np.ndarray) -> np.ndarray:
    """Two or three values -> theirs at positions between them."""
    found = values[0] + along.near[at] * (values[1] - values[0])
    return found + along.far[at] * (values[2] - values[1]) if len(values) == 3 else found
