"""Differences between trainings of equal seeds, and how sure they are.

Equal seeds share the order of the images and the random numbers, so that a part of the noise is in both.
"""

from collections.abc import Mapping, Sequence
from statistics import stdev


def differences(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Ours minus theirs, for every seed that has both."""
    return [ours[seed] - theirs[seed] for seed in sorted(ours) if seed in theirs]


def standard_error(values: Sequence[float]) -> float | None:
    """Standard error of the mean, s / sqrt(n) with the standard deviation s of n values; None for a single one."""
    return stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
