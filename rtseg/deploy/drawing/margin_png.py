"""The margin of each pixel as a grey PNG of 16 bits: `rtseg predict --margin`."""

import numpy as np

from rtseg.deploy.drawing.png import compress_rows, grey_png

STEPS = 1000
"""Grey levels of a margin of 1."""
_MOST = 65535  # of 16 bits


def thousandths(margin: np.ndarray) -> np.ndarray:
    """(H, W) margins -> uint16, rounded; 65535 for 65.535 and more, also for one class."""
    return np.minimum(np.rint(margin * np.float32(STEPS)), _MOST).astype(np.uint16)


def margin_png(margin: np.ndarray) -> bytes:
    """(H, W) margins -> a PNG with their thousandths."""
    grey = thousandths(margin)
    return grey_png(grey, compress_rows(grey))
