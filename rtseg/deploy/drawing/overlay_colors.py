"""Colours of classes that can be told apart over a dark image, as near to a data set's palette as that allows.

CamVid draws fence, car and pedestrian in (64, 64, 128), (64, 0, 128) and (64, 64, 0): half transparent over a street in
shadow, all three are black.
"""

import cv2
import numpy as np

from rtseg.deploy.drawing.overlay import Palette

DARKEST = 50.0  # lightness L* of CIELAB, 0..100
DISTANCES = (
    30.0,
    25.0,
    20.0,
    15.0,
    10.0,
    5.0,
    0.0,
)  # between any two colours of a palette, in CIELAB; the first with room
_STEPS = 18  # of each of red, green and blue, from which a colour is replaced


def distinct_colors(palette: Palette) -> Palette:
    """The palette, in which colours that are dark or near another's are replaced by the nearest that are not.

    Dark is a lightness L* below 50. Near is a CIELAB distance below 30, or the next of `DISTANCES` where the colours
    are too many. Of two near colours the class of the lower number keeps its own.

    Args:
        palette: RGB of class 0..K-1.
    """
    return next(colors for distance in DISTANCES if (colors := _at_distance(palette, distance)) is not None)


def _at_distance(palette: Palette, distance: float) -> Palette | None:
    """None where there is no room for so many colours."""
    steps = np.linspace(0, 255, _STEPS).round().astype(np.uint8)
    others = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    candidates = np.concatenate([np.asarray(palette, np.uint8).reshape(-1, 3), others])
    lab = cv2.cvtColor(candidates[:, None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[:, 0]
    free = lab[:, 0] >= DARKEST
    chosen: dict[int, int] = {}  # class -> its candidate

    def take(k: int, candidate: int) -> None:
        chosen[k] = candidate
        free[np.linalg.norm(lab - lab[candidate], axis=1) < distance] = False

    for k in range(len(palette)):
        if free[k]:
            take(k, k)
    for k in range(len(palette)):
        if k not in chosen:
            if not free.any():
                return None
            take(k, int(np.where(free, np.linalg.norm(lab - lab[k], axis=1), np.inf).argmin()))
    return [(int(r), int(g), int(b)) for r, g, b in (candidates[chosen[k]] for k in range(len(palette)))]
