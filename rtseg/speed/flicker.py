"""How much class maps flicker: how many pixels change their class though the image does not move there."""

import numpy as np

from rtseg.deploy.video.steady import STILL, smooth_grey


class Flicker:
    """The flicker of a film: of the pixels that do not move from one frame to the next, the share whose class changes.

    A pixel does not move where its grey, averaged over the 5x5 pixels around it and rounded to a level, 0..255
    (`smooth_grey`), differs by fewer than `STILL` levels from that in the frame before. Pixels are counted over all
    pairs of neighbouring frames together.

    Real changes count, too, where the image hides them: the edge of something that moves over another of its grey.
    """

    def __init__(self) -> None:
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._still = self._changed = 0
        self._shares: list[float] = []  # of the pixels of each pair that do not move

    def add(self, image: np.ndarray, classes: np.ndarray) -> None:
        """The next frame.

        Args:
            image: (H, W, 3) uint8 RGB; H, W as before.
            classes: (H, W) class numbers.
        """
        grey = smooth_grey(image)
        if self._before is not None:
            old_grey, old_classes = self._before
            still = np.maximum(grey, old_grey) - np.minimum(grey, old_grey) < STILL
            here = int(np.count_nonzero(still))
            self._still += here
            self._shares.append(here / still.size)
            self._changed += int(np.count_nonzero(still & (classes != old_classes)))
        self._before = grey, classes

    @property
    def share(self) -> float | None:
        """0..1; None where no pixel stood still."""
        return self._changed / self._still if self._still else None

    @property
    def still(self) -> float | None:
        """The share of a pair's pixels that do not move, of the median pair, 0..1; None of fewer than two frames."""
        return float(np.median(self._shares)) if self._shares else None
