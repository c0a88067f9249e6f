"""Large images: windows of one size go through the network, and their upsampled logits are averaged where they overlap.

The rule is PaddleSeg's sliding inference: the last window of a row or column is shifted back into the image. Of the
logits only the rows of windows that reach the next pixels are kept, at the network's own stride.

(T, U) the size of a window, K classes, h, w the size of a window's logits, (H, W) the size of the image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rtseg.deploy.class_map import check_logits
from rtseg.errors import UserError

_LEAST = 32  # pixels of a window's side: one logit of the coarsest map
_MOST = 2**26  # pixels of a window, which the network's memory follows


@dataclass(frozen=True)
class Tiling:
    """Windows over an image.

    Attributes:
        size: (T, U). In an image that is smaller than a window, windows are as small as the image.
        overlap: pixels that two neighbours share at least, below and beside each other.

    Raises:
        UserError: a window is too small or too large, or no larger than the overlap.
    """

    size: tuple[int, int]
    overlap: tuple[int, int]

    def __post_init__(self) -> None:
        height, width = self.size
        if min(self.size) < _LEAST or height * width > _MOST:
            raise UserError(
                f"--tile {height} {width}: a window has at least {_LEAST} pixels on each side and at most {_MOST:,} in "
                "all; 512 1024 is a good size"
            )
        for overlap, side in zip(self.overlap, self.size, strict=True):
            if not 0 <= overlap < side:
                raise UserError(
                    f"--overlap {overlap} with --tile {height} {width}: the overlap is at least 0 and below both "
                    f"sides of the window; {side // 8} is a good one"
                )

    def starts(self, size: tuple[int, int]) -> tuple[list[int], list[int]]:
        """The first rows and the first columns of the windows in an image of (H, W)."""
        rows, columns = (
            [*range(0, length - side, side - overlap), max(length - side, 0)]
            for length, side, overlap in zip(size, self.size, self.overlap, strict=True)
        )
        return rows, columns


def tiling(size: tuple[int, int], overlap: int | None = None) -> Tiling:
    """`Tiling` with one overlap in both directions; None takes an eighth of the window's shorter side."""
    overlap = min(size) // 8 if overlap is None else overlap
    return Tiling((size[0], size[1]), (overlap, overlap))


def tiled_class_map(logits_of: Callable[[np.ndarray], Tensor], image: np.ndarray, tiles: Tiling) -> np.ndarray:
    """The class of every pixel, the lower one where two are equal.

    Args:
        logits_of: a window (T, U, channels) -> its logits (1, K, h, w) on any device. Called once for each window,
            row by row; the next call may overwrite what it returned.
        image: (H, W, channels).

    Returns:
        (H, W), uint8 for up to 256 classes, int16 above.

    Raises:
        UserError: the logits of a window are not finite.
    """
    height, width = image.shape[:2]
    window = min(tiles.size[0], height), min(tiles.size[1], width)
    rows, columns = tiles.starts((height, width))
    canvas: _Canvas | None = None
    for r, (top, bottom) in enumerate(zip(rows, [*rows[1:], height], strict=True)):
        for c, left in enumerate(columns):
            logits = logits_of(image[top : top + window[0], left : left + window[1]])
            check_logits(logits)
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
