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
_ALPHA, _SHADE = 0.45, 0.6  # of a mask's colour, and of the black behind a label
_SMALLEST, _SHARE = 8, 60  # height of the letters: pixels, and the part of the image's longer side


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
    texts = [f"{found.name} {found.score:.2f}" for found, _ in labels]
    spots: list[tuple[int, int, int, int]] = []
    for (found, _), text in zip(labels, texts, strict=True):  # the surest has the first choice
        size = round(font.getlength(text)) + letters // 2, letters * 5 // 4
        spots.append(_free_spot(found.box, size, (height, width), spots))
    for (found, color), text, spot in reversed(list(zip(labels, texts, spots, strict=True))):  # the surest on top
        left, top, right, bottom = (round(side) for side in found.box)
        pen.rectangle(
            (left, top, max(left, right - 1), max(top, bottom - 1)), outline=color, width=max(1, letters // 8)
        )
        red, green, blue = ((255 + value) // 2 for value in color)  # a dark colour would be hard to read
        behind = canvas.crop(spot)
        canvas.paste(Image.blend(behind, Image.new("RGB", behind.size), _SHADE), spot)
        pen.text((spot[0] + letters // 4, (spot[1] + spot[3]) / 2), text, (red, green, blue), font, anchor="lm")
    return np.asarray(canvas)


def _free_spot(
    box: tuple[float, float, float, float],
    size: tuple[int, int],
    image: tuple[int, int],
    taken: Sequence[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Where a label stands: above its box, or at the first place near it that others leave free.

    Args:
        size: of the label, width and height.
        image: H, W.
        taken: left, top, right, bottom of other labels.
    """
    left, top, _, bottom = (round(side) for side in box)
    x = max(0, min(left, image[1] - size[0]))
    rows = [max(0, min(y, image[0] - size[1])) for y in (top - size[1], top, bottom, bottom - size[1])]
    spots = [(x, y, x + size[0], y + size[1]) for y in rows]
    free = (spot for spot in spots if not any(_overlap(spot, other) for other in taken))
    return next(free, spots[0])


def _overlap(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
