"""Upsampling along one axis, once or twice, as one combination of two or three logits at each position.

Both steps are linear between neighbours, so together a pixel is a combination of at most three neighbouring logits
along each axis. Where one cell holds both neighbours of the second step, two suffice.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from rtseg.deploy.class_map.cpu import axis


class Taps(NamedTuple):
    """Output positions along one axis, in runs that combine the same two or three logits.

    A value is c0 + near (c1 - c0) + far (c2 - c1), with c0, c1, c2 the logits from the run's first one on.

    Attributes:
        first: of each run, the index of its first logit.
        logits: of each run, how many it combines, 2 or 3.
        start: of each run, its first position; and behind the last run the number of positions.
        near, far: of each position.
    """

    first: np.ndarray
    logits: np.ndarray
    start: np.ndarray
    near: np.ndarray
    far: np.ndarray


@lru_cache(maxsize=64)
def taps(n: int, between: int, out: int) -> Taps:
    """n logits -> `between` positions -> `out` positions; once where the two are equal. n is at most `between`."""
    position, (cell, inner) = _cells(between, out), _cells(n, between)
    before, share = position
    behind = np.minimum(before + 1, between - 1)
    first, straddles = cell[before], cell[behind] > cell[before]
    near = np.where(straddles, (1 - share) * inner[before] + share, (1 - share) * inner[before] + share * inner[behind])
    far = np.where(straddles, share * inner[behind], 0)
    if between == out:  # the very numbers of `class_map`, whose rounding is then the same
        near = inner
    count = np.where(far > 0, 3, 2)
    begins = np.flatnonzero(np.diff(first, prepend=-1) | np.diff(count, prepend=0))
    start = np.append(begins, out).astype(np.int32)
    kinds = (first[begins].astype(np.int32), count[begins].astype(np.int32))
    return Taps(*kinds, start, near.astype(np.float32), far.astype(np.float32))


def _cells(n: int, out: int) -> tuple[np.ndarray, np.ndarray]:
    """The index at or before each of `out` positions among n, and how far behind that it lies, 0..1."""
    fraction, start = axis(n, out)
    return np.repeat(np.arange(n), np.diff(start)), fraction.astype(np.float64)
