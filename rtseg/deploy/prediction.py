"""What a network says of one image: the class map, and all that follows from it and the logits.

H, W the size of the image, K classes, h, w the size of the logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from rtseg.data import rle
from rtseg.data.polygons import Part, polygons
from rtseg.deploy.class_map import class_map_and_margin, winner_probability
from rtseg.deploy.drawing.row_bands import bands
from rtseg.errors import UserError
from rtseg.registry import suggest


class Area(NamedTuple):
    """A class that is in the image.

    Attributes:
        number: of the class, 0..K-1.
        name: of the class.
        pixels: how many are of this class.
        share: of the image, above 0 to 1.
    """

    number: int
    name: str
    pixels: int
    share: float


def count_classes(class_map: np.ndarray, num_classes: int) -> np.ndarray:
    """(H, W) class numbers -> (K,) int64: the pixels of each class."""
    counts = np.zeros(num_classes, np.int64)
    for band in bands(*class_map.shape):  # np.bincount makes 8 bytes of each pixel
        counts += np.bincount(class_map[band].reshape(-1), minlength=num_classes)
    return counts


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of one image. What takes time is computed when it is asked for, and then kept.

    Attributes:
        class_map: (H, W) class numbers 0..K-1, uint8 (int16 above 256 classes).
        class_names: of class 0..K-1.
        palette: RGB of class 0..K-1.
        logits: (1, K, h, w) float32 at the stride of the network's head, on the CPU; None where an exported file puts
            out class maps, or the image was seen through windows. Then there is no probability, and no margin but the
            file's own.
        between: size to which the logits are upsampled before they are upsampled to (H, W), see `class_map`.
        file_margin: (H, W) float32 margins that an exported file put out; None where it does not.
        file_size: (h, w) of the file's margins, where the image has another size.
    """

    class_map: np.ndarray
    class_names: Sequence[str]
    palette: Sequence[tuple[int, int, int]]
    logits: Tensor | None = None
    between: tuple[int, int] | None = None
    file_margin: np.ndarray | None = None
    file_size: tuple[int, int] | None = None

    @cached_property
    def areas(self) -> tuple[Area, ...]:
        """The classes that are in the image, the largest first."""
        counts = count_classes(self.class_map, len(self.class_names))
        order = sorted(np.flatnonzero(counts).tolist(), key=lambda k: -counts[k])
        return tuple(
            Area(k, self.class_names[k], int(counts[k]), float(counts[k] / self.class_map.size)) for k in order
        )

    def __repr__(self) -> str:
        height, width = self._size
        largest = ", ".join(f"{area.name} {area.share:.1%}" for area in self.areas[:3])
        more = f" and {len(self.areas) - 3} more" if len(self.areas) > 3 else ""
        return f"Prediction({height}x{width} (height x width): {largest}{more})"

    @cached_property
    def margin(self) -> np.ndarray:
        """(H, W) float32: the best minus the second best upsampled logit of every pixel; infinite for one class.

        Raises:
            UserError: there are no logits, and no margins of this size.
        """
        if self.file_margin is not None:
            return self.file_margin
        if self.file_size:
            own, seen = ("x".join(map(str, size)) for size in (self._size, self.file_size))
            raise UserError(
                f"there is no margin for an image of {own}: the file saw it at {seen}, and its margins hold for that "
                "size. Give images of that size, or predict with the checkpoint or a file of logits"
            )
        margins = class_map_and_margin(self._logits("margin"), self._size, between=self.between)[1]
        return margins[0].numpy()

    @cached_property
    def probability(self) -> np.ndarray:
        """(H, W) float32: the softmax of every pixel's class over all classes, 1 / K to 1. Slower than the margin.

        Raises:
            UserError: there are no logits.
        """
        return winner_probability(self._logits("probability"), self._size, between=self.between)[0].numpy()

    def mask(self, which: str | int) -> np.ndarray:
        """(H, W) bool: where a class is.

        Args:
            which: name or number of the class. Of several classes with one name, all.

        Raises:
            UserError: there is no such class.
        """
        return np.isin(self.class_map, self._numbers(which))

    def polygons(self, which: str | int, *, edges: bool = False, tolerance: float = 0.0) -> list[Part]:
        """The outlines of a class: a list of parts, each a list of rings [x, y, x, y, ...], first the outer one, then
        those of its holes. Empty where the class is not in the image.

        Args:
            which: name or number of the class.
            edges, tolerance: see `rtseg.data.polygons`; by default `cv2.fillPoly` turns the rings of a part back
                into exactly its pixels.
        """
        return polygons(self.mask(which), edges=edges, tolerance=tolerance)

    def rle(self, which: str | int) -> dict[str, Any]:
        """The pixels of a class as COCO's compressed run lengths, {"size": [H, W], "counts": text}.

        Args:
            which: name or number of the class.
        """
        return rle.encode(self.mask(which))

    @property
    def _size(self) -> tuple[int, int]:
        return self.class_map.shape[0], self.class_map.shape[1]

    def _logits(self, what: str) -> Tensor:
        if self.logits is None:
            raise UserError(
                f"there is no {what}: the logits are not known. Predict with the checkpoint or a file exported without "
                "--result, and without windows (--tile)"
            )
        return self.logits

    def _numbers(self, which: str | int) -> list[int]:
        count = len(self.class_names)
        if isinstance(which, str):
            numbers = [k for k, name in enumerate(self.class_names) if name == which]
            if not numbers:
                raise UserError(f"there is no class '{which}'.{suggest(which, self.class_names)}")
            return numbers
        if isinstance(which, bool) or not isinstance(which, Integral) or not 0 <= which < count:
            raise UserError(f"there is no class {which}: the {count} classes have the numbers 0 to {count - 1}")
        return [int(which)]
