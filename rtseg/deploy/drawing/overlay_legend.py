"""The strip below an overlay that names the classes in it; it covers nothing of the image."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtseg.deploy.drawing.overlay import Palette
from rtseg.deploy.folder.legend import shorten

_ROWS = 3  # at most
_PART = 4  # of an image's height is the most that its legend adds
_SMALLEST, _SHARE = 11, 85  # height of the letters: pixels, and the part of the image's width
_TALLEST = 65_500  # rows of a JPEG


class OverlayLegend:
    """Names and colours of a network's classes, drawn below an overlay.

    Its height depends on the image's size and on the network alone, so the overlays of equally large images are equally
    large, as a film needs them. Where the classes of an image need more room, the rarest are counted instead of named.

    Args:
        names, colors: of class 0..K-1.
    """

    def __init__(self, names: Sequence[str], colors: Palette) -> None:
        self._names = [shorten(name) for name in names]
        self._colors = colors
        self._drawn: dict[tuple[int, int], np.ndarray] = {}

    def height(self, height: int, width: int) -> int:
        """Rows of the strip below an image; 0 where the image is too small for one, or a JPEG cannot be taller."""
        letters = max(_SMALLEST, width // _SHARE)
        entries = [self._entry(k, letters) for k in range(len(self._names))]
        if not entries or max(entry.shape[1] for entry in entries) > width:
            return 0
        row = self._row(letters)
        strip = row * min(_ROWS, height // _PART // row, len(_lines([entry.shape[1] for entry in entries], width)))
        return strip if height + strip <= _TALLEST else 0

    def draw(self, strip: np.ndarray, pixels: Sequence[int]) -> None:
        """Draws the classes that an image has.

        Args:
            strip: (`height`, W, 3) uint8, RGB; is filled.
            pixels: of class 0..K-1 in the image.
        """
        strip[:] = 255
        height, width = strip.shape[:2]
        letters = max(_SMALLEST, width // _SHARE)
        there = np.flatnonzero(pixels)
        there = there[np.argsort(-np.asarray(pixels)[there], kind="stable")]
        for count in range(len(there), -1, -1):
            entries = [self._entry(k, letters) for k in sorted(there[:count].tolist())]
            if count < len(there):
                entries.append(self._text(f"+ {len(there) - count} more", letters))
            lines = _lines([entry.shape[1] for entry in entries], width)
            if len(lines) * self._row(letters) <= height:
                break
        for line, numbers in enumerate(lines):
            x = 0
            for entry in (entries[n] for n in numbers):
                top = line * entry.shape[0]
                strip[top : top + entry.shape[0], x : x + entry.shape[1]] = entry[:, : width - x]
                x += entry.shape[1]

    @staticmethod
    def _row(letters: int) -> int:
        return letters * 3 // 2

    def _entry(self, k: int, letters: int) -> np.ndarray:
        """(row, width, 3): the colour and the name of a class."""
        key = (k, letters)
        if key not in self._drawn:
            swatch = np.full((self._row(letters), letters * 5 // 3, 3), 255, np.uint8)
            edge = max(1, letters // 6)
            swatch[edge:-edge, 2 * edge : -edge] = 0
            swatch[edge + 1 : -edge - 1, 2 * edge + 1 : -edge - 1] = self._colors[k]
            self._drawn[key] = np.concatenate([swatch, self._text(self._names[k], letters)], axis=1)
        return self._drawn[key]

    def _text(self, text: str, letters: int) -> np.ndarray:
        font = ImageFont.load_default(letters)
        image = Image.new("RGB", (round(font.getlength(text)) + letters // 2, self._row(letters)), "white")
        ImageDraw.Draw(image).text((0, self._row(letters) / 2), text, "black", font, anchor="lm")
        return np.asarray(image)


def _lines(widths: Sequence[int], width: int) -> list[list[int]]:
    """Numbers of the entries in each line, from left to right."""
    lines: list[list[int]] = []
    used = width
    for number, entry in enumerate(widths):
        if used + entry > width:
            lines.append([])
            used = 0
        lines[-1].append(number)
        used += entry
    return lines
