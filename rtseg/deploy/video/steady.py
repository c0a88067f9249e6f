"""Class maps of a film that hold still where the film does: hysteresis on the exact margin.

At the border of two classes their logits are nearly equal, and the noise of the camera decides from frame to frame. So
a pixel keeps its class until another one leads by more, while the image there stays as it was. A stale class is then
wrong by little where the image stands, and gone as soon as the image moves.

Only pixels whose class would change are looked at, a few in a hundred. There the two logits are interpolated once more,
so that neither the second best class of every pixel nor upsampled logits are needed.

h, w the size of the logits, K classes, H, W the size of the image.
"""

import math

import cv2
import numpy as np

from rtseg.deploy.class_map.leads import leads
from rtseg.deploy.prediction import Prediction
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError

LEAD = math.log(2)
"""By how much a new class's logit must exceed the old one's: logits are logarithms of probabilities, and the new class
must be twice as probable."""
STILL = 4
"""Levels of grey, 0..255. A pixel does not move while `smooth_grey` differs by fewer from what it was."""
_BLUR = 5  # pixels: the mean of 25 has a fifth of their noise


def smooth_grey(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8: the mean grey of the 5x5 pixels around each."""
    return cv2.blur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (_BLUR, _BLUR))


def check_steady(predictor: Predictor) -> None:
    """Raises: UserError where a network's class maps come without logits and margins, so that none can be steadied."""
    if predictor.tiles:
        raise UserError(
            "--steady needs the logits of the whole frame, which --tile does not keep; leave out one of the two"
        )
    if not predictor.runner.has_source_margins:
        raise UserError(
            "--steady needs logits or margins, and this exported file or engine puts out class maps alone: give the "
            "checkpoint or a file exported without --result class_map, or leave --steady out"
        )


class Steady:
    """The class maps of one film, made steady.

    A pixel whose class would change keeps the old one where both hold:

    - the logit of the new class exceeds that of the old one by less than `lead`; of a file that puts out margins and no
      logits, the margin is taken for this difference, which it never exceeds;
    - its grey (`smooth_grey`) differs by fewer levels than `still` from the last frame in which the network itself gave
      it this class. So nothing is kept through a slow drift or a cut.

    Args:
        lead, still: see above; where one is 0 the class maps stay as they are.
    """

    def __init__(self, lead: float = LEAD, still: int = STILL) -> None:
        self._lead, self._still = lead, still
        self._before: np.ndarray | None = None
        self._reference = np.empty(0, np.uint8)  # (H, W): the grey of each pixel when the network gave its class

    def next(self, image: np.ndarray, found: Prediction) -> np.ndarray:
        """The class map of the next frame. A frame of another size begins anew.

        Args:
            image: (H, W, 3) uint8 RGB.
            found: what the network says of it.

        Returns:
            (H, W) class numbers, of the type of `found.class_map`.

        Raises:
            UserError: there are neither logits nor margins.
        """
        classes, grey = found.class_map.copy(), smooth_grey(image)
        before, reference = self._before, self._reference
        if before is not None and before.shape == classes.shape:
            where = np.flatnonzero(before != classes)
            there, then = grey.reshape(-1)[where], reference.reshape(-1)[where]
            where = where[np.maximum(there, then) - np.minimum(there, then) < self._still]
            old = before.reshape(-1)[where]
            kept = np.maximum(_lead(found, where, old), 0) < self._lead  # it is less than nothing by its rounding alone
            where, old = where[kept], old[kept]
            classes.reshape(-1)[where] = old
            grey.reshape(-1)[where] = reference.reshape(-1)[where]
        self._before, self._reference = classes, grey
        return classes.copy()


def _lead(found: Prediction, where: np.ndarray, old: np.ndarray) -> np.ndarray:
    """By how much the best class leads an old one at N pixels, (N,) float32.

    Args:
        where: (N,) positions in the flat class map.
        old: (N,) the old classes there.
    """
    if found.logits is None:
        return found.margin.reshape(-1)[where]
    size = (found.class_map.shape[0], found.class_map.shape[1])
    best = found.class_map.reshape(-1)[where]
    return leads(found.logits, size, where, best, old, between=found.between)
