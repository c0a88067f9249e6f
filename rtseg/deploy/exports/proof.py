"""What an exported file proves itself with: a small image, the class map that plain PyTorch gives for it, a few of the
logits or margins, and tolerances.

H, W size of the image.
"""

import base64
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from rtseg.deploy.exports.samples import Samples
from rtseg.deploy.graph import Format

# Of the pixels, how many must have the class that plain PyTorch gives them. MNN's Winograd convolutions round a hundred
# times as coarsely as plain float32.
LEAST_EQUAL_PERCENT: dict[Format, float] = {"onnx": 99.99, "xml": 99.99, "mnn": 99.9, "pt2": 99.99}
_MNN_LOGITS_ERROR = 1e-2
_MOST_PIXELS = 2**26
_LARGEST = 4 * 2**20  # bytes of a PNG
_ZLIB, _MOST_BYTES = "eN", 2**30  # how a compressed array begins, in base64; bytes of it


@dataclass(frozen=True)
class Proof:
    """An image and what must come out.

    Attributes:
        image: (H, W, 3) uint8 RGB; of a network of other channels (H, W, C) float32 grey levels.
        class_map: (H, W) uint8, or uint16 above 256 classes: of plain float32 PyTorch.
        least_equal_percent: of the pixels, how many must have this class.
        source: which image it is, in words.
        unseen: mistakes that this image does not show, in words; empty is best.
        samples: of the logits or margins; None in a file of class maps, and in files of format 2.
    """

    image: np.ndarray
    class_map: np.ndarray
    least_equal_percent: float
    source: str
    unseen: tuple[str, ...] = ()
    samples: Samples | None = None

    def of_format(self, format: Format) -> Self:
        """With the tolerances of a format, where they are wider than its own."""
        percent = min(self.least_equal_percent, LEAST_EQUAL_PERCENT[format])
        samples = self.samples
        if samples and format == "mnn":
            samples = replace(samples, most_error=max(samples.most_error, _MNN_LOGITS_ERROR))
        return replace(self, least_equal_percent=percent, samples=samples)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; the arrays are PNG files in base64, float32 grey levels a compressed `.npy`."""
        return {
            "image": self._stored_image(),
            "class_map": _png(self.class_map),
            "least_equal_percent": self.least_equal_percent,
            "source": self.source,
            "unseen": list(self.unseen),
            "samples": self.samples and self.samples.to_dict(),
        }

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError, OSError: something is missing or damaged.
        """
        image, classes = _image(entries["image"]), _array(entries["class_map"], "L", "I;16")
        percent = float(entries["least_equal_percent"])
        if image.shape[:2] != classes.shape or not 0 < percent <= 100:
            raise ValueError("the proof's image and class map do not belong together")
        samples = Samples.from_dict(entries["samples"]) if entries.get("samples") else None
        return cls(image, classes, percent, str(entries["source"]), tuple(map(str, entries["unseen"])), samples)

    def _stored_image(self) -> str:
        return _png(self.image) if self.image.dtype == np.uint8 else _compressed(self.image)

    @property
    def is_small(self) -> bool:
        """Whether it can be stored."""
        return max(len(self._stored_image()), len(_png(self.class_map))) <= _LARGEST

    def equal_percent(self, class_map: np.ndarray) -> float:
        """Share of the pixels that have the expected class."""
        if class_map.shape != self.class_map.shape:
            return 0.0
        return 100 * float((class_map == self.class_map).mean())


def _png(values: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def _compressed(levels: np.ndarray) -> str:
    file = io.BytesIO()
    np.save(file, levels)
    return base64.b64encode(zlib.compress(file.getvalue(), 9)).decode()


def _image(text: Any) -> np.ndarray:
    if not isinstance(text, str) or not text.startswith(_ZLIB):
        return _array(text, "RGB")
    if len(text) > 2 * _LARGEST:
        raise ValueError("the proof's image is too long")
    try:
        content = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
        levels = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except (zlib.error, EOFError, MemoryError) as error:
        raise ValueError(f"the proof's image is damaged ({error})") from None
    if levels.dtype != np.float32 or levels.ndim != 3 or not np.isfinite(levels).all():
        raise ValueError(f"the proof has an image of {levels.dtype} and the shape {levels.shape}")
    return levels


def _array(text: Any, *modes: str) -> np.ndarray:
    if not isinstance(text, str) or len(text) > 2 * _LARGEST:
        raise ValueError("the proof's PNG is no text, or too long")
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as image:
        if image.mode not in modes or image.width * image.height > _MOST_PIXELS:
            raise ValueError(f"the proof has an image of mode {image.mode} and {image.width}x{image.height} pixels")
        return np.array(image)
