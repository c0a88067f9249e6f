"""What a proof knows of the logits or margins of its image: a few of them, which show a scale that the class map hides.

H, W size of the image, h, w size of the logits, K classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_MOST = 64


@dataclass(frozen=True)
class Samples:
    """Values of plain float32 PyTorch at some places.

    Attributes:
        output: "logits", whose places are (row, column, class) of (h, w, K); or "margin", (row, column) of (H, W).
        places: (N, 3) or (N, 2) whole numbers.
        values: (N,) float64.
        spread: the standard deviation of the whole output.
        most_error: the largest root mean square of what the values may differ by, over the spread.
    """

    output: str
    places: np.ndarray
    values: np.ndarray
    spread: float
    most_error: float

    @classmethod
    def of(cls, output: str, whole: np.ndarray, most_error: float) -> Self:
        """Samples of an output, the same places for every output of one shape."""
        flat = np.sort(np.random.default_rng(0).permutation(whole.size)[:_MOST])
        places = np.stack(np.unravel_index(flat, whole.shape), 1)
        # Seven digits, which float32 has: a shorter text.
        values = np.array([float(f"{value:.7g}") for value in whole.reshape(-1)[flat]])
        spread = float(f"{whole.std(dtype=np.float64):.7g}")
        return cls(output, places, values, max(spread, 1e-30), most_error)

    def error(self, whole: np.ndarray) -> float:
        """How far an output of the same shape is off: root mean square over the spread; infinite for another shape."""
        if whole.ndim != self.places.shape[1] or (self.places >= whole.shape).any():
            return np.inf
        found = whole[tuple(self.places.T)].astype(np.float64)
        return float(np.sqrt(np.square(found - self.values).mean()) / self.spread)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "output": self.output,
            "places": self.places.tolist(),
            "values": self.values.tolist(),
            "spread": self.spread,
            "most_error": self.most_error,
        }

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: something is missing or damaged.
        """
        places, values = np.array(entries["places"]), np.array(entries["values"], np.float64)
        numbers = float(entries["spread"]), float(entries["most_error"])
        axes = {"logits": 3, "margin": 2}[entries["output"]]
        right = places.dtype == np.int64 and places.shape == (*values.shape, axes) and places.min() >= 0
        if not right or not np.isfinite([*values, *numbers]).all() or min(numbers) <= 0:
            raise ValueError("the proof's samples do not belong together")
        return cls(entries["output"], places, values, *numbers)
