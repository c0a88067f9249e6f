"""Where a scene is drawn: image, class mask and depth come from one geometry, so the mask is exact.

Shapes are polygons, arrays of N x 2 (x, y) in pixels. A polygon's coverage of each pixel (0..1, antialiased) blends its
colour into the image; mask and depth take every pixel that is covered by at least half.

H, W height and width of the picture; h, w those of the box around a shape.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

RNG = np.random.Generator
Array = np.ndarray
Colour = Sequence[float] | Array  # RGB in 0..1, one for all pixels or (h, w, 3); (h, w, 4) adds opacity
Painter = Callable[[Array, Array], Array]  # pixel coordinates x (1, w) and y (h, 1) -> (h, w, 3 or 4)
Depth = float | Callable[[Array], Array]  # metres; or a function of x

VOID = 255
_SUBPIXEL_BITS = 4


class Canvas:
    """Image (H, W, 3) float in 0..1, mask (H, W) uint8 of classes, depth (H, W) float in metres."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.image = np.zeros((*size, 3), np.float32)
        self.mask = np.full(size, VOID, np.uint8)
        self.depth = np.full(size, 1e3, np.float32)

    def paint(
        self,
        shapes: Sequence[np.ndarray],
        colour: Colour | Painter,
        label: int | None,
        depth: Depth,
        opacity: float = 1.0,
    ) -> None:
        """Draws the union of some polygons.

        Args:
            label: the class that the pixels become; None keeps what lies below (shadows, reflections).
            depth: distance from the camera, for the fog.
            opacity: of the colour alone: a see-through part (spokes, the gaps of a fence) still belongs to its object.
        """
        points = np.concatenate(shapes)
        left, top = (max(0, int(edge) - 1) for edge in points.min(0))
        right, bottom = (min(side, int(edge) + 2) for side, edge in zip(self.size[::-1], points.max(0), strict=True))
        if left >= right or top >= bottom:
            return
        coverage = np.zeros((bottom - top, right - left), np.uint8)
        for shape in shapes:
            fixed = np.rint((shape - (left, top)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(coverage, [fixed], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
        box = slice(top, bottom), slice(left, right)
        x = np.arange(left, right, dtype=np.float32)[None]
        y = np.arange(top, bottom, dtype=np.float32)[:, None]
        pixels = colour(x, y) if callable(colour) else np.asarray(colour, np.float32)
        alpha = coverage[..., None] * np.float32(opacity / 255)
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            pixels, alpha = pixels[..., :3], alpha * pixels[..., 3:]
        region = self.image[box]
        region += alpha * (pixels - region)
        if label is not None:
            inside = coverage >= 128
            self.mask[box][inside] = label
            self.depth[box][inside] = np.broadcast_to(depth(x), inside.shape)[inside] if callable(depth) else depth

    def wall(self, corners: np.ndarray, texture: Array, label: int, depths: tuple[float, float]) -> None:
        """Draws a flat texture (rows, columns, 3 or 4) in perspective.

        Args:
            corners: (4, 2): top left, top right, bottom right, bottom left of the texture.
            depths: of its left and of its right edge.
        """
        rows, columns = texture.shape[:2]
        flat = np.array([(0, 0), (columns, 0), (columns, rows), (0, rows)], np.float32) - 0.5

        def warped(x: Array, y: Array) -> Array:
            onto = cv2.getPerspectiveTransform(flat, (corners - (x[0, 0], y[0, 0])).astype(np.float32))
            return cv2.warpPerspective(texture, onto, (x.size, y.size), borderMode=cv2.BORDER_REPLICATE)

        def depth(x: Array) -> Array:
            x0, x1 = corners[0, 0], corners[1, 0]
            along = np.clip((x - x0) / (x1 - x0 or 1), 0, 1)
            return 1 / (along / depths[1] + (1 - along) / depths[0])  # 1 / depth is linear on the screen

        self.paint([corners], warped, label, depth)


def capsule(a: tuple[float, float], b: tuple[float, float], width: float, end: float | None = None) -> np.ndarray:
    """A thick line with round ends from a to b, `width` across at a and `end` (or the same) at b."""
    angle = np.arctan2(b[1] - a[1], b[0] - a[0])
    turn = np.linspace(np.pi / 2, 3 * np.pi / 2, 7)
    cap = np.stack([np.cos(angle + turn), np.sin(angle + turn)], 1)
    end = width if end is None else end
    return np.concatenate([np.asarray(a) + cap * (width / 2), np.asarray(b) - cap * (end / 2)])


def ellipse(
    centre: tuple[float, float], radius: float, radius_y: float | None = None, start: float = 0, stop: float = 360
) -> np.ndarray:
    """An ellipse, or the segment of one between two angles in degrees."""
    radii = radius, radius if radius_y is None else radius_y
    turn = np.radians(np.linspace(start, stop, 25))
    return np.asarray(centre) + np.stack([np.cos(turn), np.sin(turn)], 1) * radii


def rectangle(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """An upright rectangle."""
    return np.array([(left, bottom), (right, bottom), (right, top), (left, top)], float)
