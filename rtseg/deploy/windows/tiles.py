"""Large images: windows of one size go through the network, and their upsampled logits are averaged where they overlap.

The rule is PaddleSeg's sliding inference: the last window of a row or column is shifted back into the image. Of the
logits only the rows of windows that reach the next pixels are kept, at the network's own stride.

(T, U) the size of a window, K classes, h, w the size of a window's logits, (H, W) the size of the image.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from rtseg.deploy.windows.tiling import Tiling


def tiled_class_map(logits_of: Callable[[np.ndarray], Tensor], image: np.ndarray, tiles: Tiling) -> np.ndarray:
    """The class of every pixel, the lower one where two are equal.

    Args:
        logits_of: a window (T, U, channels) -> its logits (1, K, h, w), finite, on any device. Called once for
            each window, row by row; the next call may overwrite what it returned.
        image: (H, W, channels).

    Returns:
        (H, W), uint8 for up to 256 classes, int16 above.
    """
    height, width = image.shape[:2]
    window = min(tiles.size[0], height), min(tiles.size[1], width)
    rows, columns = tiles.starts((height, width))
    canvas: _Canvas | None = None
    for r, (top, bottom) in enumerate(zip(rows, [*rows[1:], height], strict=True)):
        for c, left in enumerate(columns):
            logits = logits_of(image[top : top + window[0], left : left + window[1]])
            values = logits[0].detach().float().permute(1, 2, 0).cpu().numpy()
            canvas = canvas or _Canvas((height, width), window, (rows, columns), values.shape)
            canvas.put(r, c, values)
        assert canvas is not None  # there is a first window
        canvas.fill((top, bottom))  # no later window reaches above the next row of windows
    assert canvas is not None
    return canvas.classes


class _Canvas:
    """The class map, and the logits of the rows of windows that reach its next pixels.

    Args:
        size: (H, W).
        window: (T, U).
        starts: the first rows and columns of the windows.
        shape: (h, w, K).
    """

    def __init__(
        self, size: tuple[int, int], window: tuple[int, int], starts: tuple[list[int], list[int]], shape: Sequence[int]
    ) -> None:
        from rtseg.deploy.class_map.windows import window_axis  # Numba takes long to import

        rows, columns = starts
        self._held = max(sum(top - window[0] < other <= top for other in rows) for top in rows)
        self._logits = np.empty((self._held, len(columns), *shape), np.float32)
        self._y, self._x = (window_axis(*axis) for axis in zip(starts, window, shape[:2], strict=True))
        self.classes = np.empty(size, np.uint8 if shape[2] <= 256 else np.int16)

    def put(self, row: int, column: int, logits: np.ndarray) -> None:
        """Keeps a window's logits, in place of those of a row of windows that is no longer needed."""
        self._logits[row % self._held, column] = logits

    def fill(self, rows: tuple[int, int]) -> None:
        """Writes rows of the class map."""
        from rtseg.deploy.class_map.windows import fill_rows

        fill_rows(self._logits, self.classes, self._y, self._x, rows, threads=torch.get_num_threads())
