"""Class maps as colours, alone and over the image."""

from collections.abc import Sequence

import cv2
import numpy as np

from rtseg.checks import check_between
from rtseg.deploy.drawing.row_bands import bands
from rtseg.errors import UserError

Palette = Sequence[tuple[int, int, int]]
_OUTLINE = np.array([255.0, 255.0, 255.0, 0.0])  # white; OpenCV wants four numbers
_WIDER = 700  # pixels of the shorter side for each further pixel of an outline's width
IGNORED = 255  # drawn black, and left transparent in an overlay


def colorize(class_map: np.ndarray, palette: Palette) -> np.ndarray:
    """(H, W) class numbers -> (H, W, 3) uint8 RGB; 255 (ignored) becomes black.

    Raises:
        UserError: a class number without a colour.
    """
    _check_colors(class_map, palette)
    return _colored(class_map, _table(palette))


def _table(palette: Palette) -> np.ndarray:
    """RGB of number 0..255 or more; black where a number has no colour."""
    colors = np.zeros((max(len(palette), IGNORED + 1), 3), np.uint8)
    colors[: len(palette)] = np.asarray(palette, np.uint8).reshape(-1, 3)
    return colors


def _check_colors(class_map: np.ndarray, palette: Palette) -> None:
    if class_map.dtype == np.uint8 and int(class_map.max(initial=0)) < len(palette):
        return
    labelled = class_map != IGNORED
    lowest, highest = int(class_map.min(where=labelled, initial=0)), int(class_map.max(where=labelled, initial=0))
    if class_map.size and (lowest < 0 or highest >= max(1, len(palette))):
        raise UserError(
            f"class numbers {lowest} to {highest} for a palette of {len(palette)} colours; give each class one"
        )


def _colored(class_map: np.ndarray, table: np.ndarray) -> np.ndarray:
    """OpenCV takes a tenth of NumPy's time, and 256 colours."""
    if class_map.dtype == np.uint8 and len(table) == 256 and class_map.size:
        return cv2.applyColorMap(np.ascontiguousarray(class_map), table[:, None])
    return table[class_map]


def overlay(
    image: np.ndarray,
    class_map: np.ndarray,
    palette: Palette,
    alpha: float = 0.5,
    *,
    outlines: bool = False,
    rows: slice | None = None,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The image tinted by its classes.

    Args:
        image: (H, W, 3) uint8 RGB.
        class_map: (H, W) class numbers; 255 (ignored) leaves the image as it is.
        palette: RGB of class 0..K-1.
        alpha: share of the colour, 0..1.
        outlines: draw a white line between classes, so that a dark colour is seen on a dark image. Not with `alpha` 0.
        rows: which of the image's are drawn, from and to which one; None for all.
        out: where they are drawn, contiguous, uint8; None for a new array.

    Returns:
        (H, W, 3) uint8 RGB, or fewer rows.

    Raises:
        UserError: image and class map differ in size, `alpha` is outside 0..1, or a class has no colour.
    """
    if image.shape != (*class_map.shape, 3) or image.dtype != np.uint8:
        raise UserError(
            "an overlay needs a uint8 RGB image and a class map of one size, "
            f"not {image.dtype} {image.shape} and {class_map.shape}"
        )
    check_between("alpha", alpha, 0, 1, "0 is the image alone, 1 the colours alone")
    _check_colors(class_map, palette)
    rows = rows or slice(0, len(image))
    tinted = np.empty((rows.stop - rows.start, *image.shape[1:]), np.uint8) if out is None else out
    table, line = _table(palette), 1 + min(class_map.shape) // _WIDER
    for part in bands(*tinted.shape[:2]):
        band, drawn = slice(rows.start + part.start, rows.start + part.stop), tinted[part]
        cv2.addWeighted(image[band], 1 - alpha, _colored(class_map[band], table), alpha, 0, dst=drawn)
        if int(class_map[band].max(initial=0)) >= IGNORED:
            np.copyto(drawn, image[band], where=(class_map[band] == IGNORED)[..., None])
        if outlines and alpha > 0:
            above = min(line, band.start)
            border = _borders(class_map[band.start - above : band.stop + line], line)
            cv2.add(drawn, _OUTLINE, dst=drawn, mask=border[above : above + band.stop - band.start])
    return tinted


def _borders(class_map: np.ndarray, width: int) -> np.ndarray:
    """(H, W) uint8: 1 where another class begins to the right or below, `width` pixels wide."""
    border = np.zeros(class_map.shape, np.uint8)
    border[:, :-1] |= class_map[:, :-1] != class_map[:, 1:]
    border[:-1] |= class_map[:-1] != class_map[1:]
    return cv2.dilate(border, np.ones((width, width), np.uint8)) if width > 1 else border
