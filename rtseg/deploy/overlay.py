"""Class maps as colours: alone, over the picture, and the legend that names them."""

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np

from rtseg.errors import UserError

Palette = Sequence[tuple[int, int, int]]
IGNORED = 255  # drawn black, and left transparent in an overlay


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Colours (RGB) for classes that have none: neighbours in number are far apart in hue."""
    golden = (5**0.5 - 1) / 2

    def color(k: int) -> tuple[int, int, int]:
        r, g, b = colorsys.hsv_to_rgb(k * golden % 1, 0.55 + 0.35 * (k % 2), 0.95 - 0.3 * (k // 2 % 2))
        return round(255 * r), round(255 * g), round(255 * b)

    return tuple(color(k) for k in range(num_classes))


def colorize(class_map: np.ndarray, palette: Palette) -> np.ndarray:
    """(H, W) class numbers -> (H, W, 3) uint8 RGB; 255 (ignored) becomes black.

    Raises:
        UserError: a class number without a colour.
    """
    colors = np.zeros((max(len(palette), IGNORED + 1), 3), np.uint8)
    colors[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    labelled = class_map != IGNORED
    lowest, highest = int(class_map.min(where=labelled, initial=0)), int(class_map.max(where=labelled, initial=0))
    if class_map.size and (lowest < 0 or highest >= max(1, len(palette))):
        raise UserError(
            f"class numbers {lowest} to {highest} for a palette of {len(palette)} colours; give each class one"
        )
    return colors[class_map]


def overlay(image: np.ndarray, class_map: np.ndarray, palette: Palette, alpha: float = 0.5) -> np.ndarray:
    """The picture tinted by its classes.

    Args:
        image: (H, W, 3) uint8 RGB.
        class_map: (H, W) class numbers; 255 (ignored) leaves the picture as it is.
        palette: RGB of class 0..K-1.
        alpha: share of the colour, 0..1.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UserError: picture and class map differ in size, `alpha` is outside 0..1, or a class has no colour.
    """
    if image.shape != (*class_map.shape, 3) or image.dtype != np.uint8:
        raise UserError(
            "an overlay needs a uint8 RGB picture and a class map of one size, "
            f"not {image.dtype} {image.shape} and {class_map.shape}"
        )
    if not 0 <= alpha <= 1:
        raise UserError(f"alpha={alpha} is outside 0 (picture alone) to 1 (colours alone)")
    mixed = cv2.addWeighted(image, 1 - alpha, colorize(class_map, palette), alpha, 0)
    return np.where((class_map == IGNORED)[..., None], image, mixed)


def legend(
    names: Sequence[str], palette: Palette, *, columns: int = 4, cell_size: tuple[int, int] = (24, 180)
) -> np.ndarray:
    """A white picture of all classes, each a swatch and its name, filled row by row.

    Args:
        cell_size: (height, width) of one class, in pixels.

    Returns:
        (rows * height, columns * width, 3) uint8 RGB.
    """
    height, width = cell_size
    columns = max(1, min(columns, len(names)))
    picture = np.full((-(-len(names) // columns) * height, columns * width, 3), 255, np.uint8)
    for k, (name, color) in enumerate(zip(names, palette, strict=True)):
        top, left = k // columns * height, k % columns * width
        picture[top + 4 : top + height - 4, left + 4 : left + height + 4] = color
        text = picture[top : top + height, left + height + 10 : left + width]
        cell = text.copy()  # a picture of its own, so that a long name ends with its cell
        text[:] = cv2.putText(cell, name, (0, height - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)
    return picture
