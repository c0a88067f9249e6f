"""An image with what was found in it: masks in colour, boxes, names and scores.

H, W height and width of the image.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rtseg.data.dataset import default_palette

_COLORS = default_palette(24)  # neighbours in the list differ; objects of one class must be told apart
_ALPHA = 0.45
_SMALLEST, _SHARE = 11, 60  # height of the letters: pixels, and the part of the image's longer side


class Found(NamedTuple):
    """One object: its mask (H, W) bool, box (left, top, right, bottom), class name, and score from 0 to 1."""

    mask: np.ndarray
    box: tuple[float, float, float, float]
    name: str
    score: float


def draw(image: np.ndarray, objects: Iterator[Found] | Sequence[Found]) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same with the objects on it.

    Args:
        objects: the surest first. They are taken one by one, so that their masks need not be in memory together.
    """
    drawn = image.copy()
    height, width = image.shape[:2]
    letters = max(_SMALLEST, max(height, width) // _SHARE)
    labels: list[tuple[Found, tuple[int, int, int]]] = []
    for number, found in enumerate(objects):
        color = _COLORS[number % len(_COLORS)]
        drawn[found.mask] = ((1 - _ALPHA) * drawn[found.mask] + _ALPHA * np.array(color)).astype(np.uint8)
        contours, _ = cv2.findContours(found.mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, color, max(1, letters // 12))
        labels.append((found._replace(mask=found.mask[:0]), color))
    canvas = Image.fromarray(drawn)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(letters)
    for found, color in reversed(labels):  # the surest on top
        left, top, right, bottom = (round(side) for side in found.box)
        pen.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=max(1, letters // 8)
        )
        text = f"{found.name} {found.score:.2f}"
        wide, high = round(font.getlength(text)) + letters // 2, letters * 5 // 4
        x, y = max(0, min(left, width - wide)), max(0, top - high)
        pen.rectangle((x, y, x + wide, y + high), fill="black")
        pen.text((x + letters // 4, y + high / 2), text, color, font, anchor="lm")
    return np.asarray(canvas)
