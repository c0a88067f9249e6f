"""One street scene: what stands where, then light and weather over the whole picture."""

from collections.abc import Callable

import cv2
import numpy as np

from rtseg.scenes import materials
from rtseg.scenes.canvas import RNG, Array, Canvas
from rtseg.scenes.objects import draw_bicyclist, draw_car, draw_fence, draw_lamp, draw_pedestrian, draw_sign
from rtseg.scenes.street import Street, draw_ground, draw_sides, draw_sky, draw_tree

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")

# What may stand in a street: least and largest number, nearest and farthest distance, width in metres, and where.
# The distances keep everything large enough for a network that answers on a grid of every eighth pixel.
_CAST = (
    (draw_fence, 0, 1, 5.0, 8.0, 2.6, "beside"),
    (draw_sign, 1, 2, 4.0, 7.0, 1.4, "beside"),
    (draw_bicyclist, 0, 1, 3.8, 6.0, 1.5, "road"),
    (draw_pedestrian, 1, 2, 3.8, 6.2, 0.8, "anywhere"),
    (draw_lamp, 1, 2, 4.0, 8.0, 0.5, "beside"),
    (draw_car, 1, 2, 5.0, 10.0, 2.2, "road"),
    (draw_tree, 0, 2, 6.0, 11.0, 1.5, "beside"),
)
_MARGIN = 0.06  # of the picture's width: nothing is placed where the frame would cut it in half


def draw_scene(rng: RNG, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws one scene.

    Args:
        size: (height, width).

    Returns:
        image (H, W, 3) uint8 RGB, mask (H, W) uint8 of `CLASSES`.
    """
    street, canvas = Street.random(rng, size), Canvas(size)
    draw_sky(canvas, street, rng)
    draw_ground(canvas, street, rng)
    draw_sides(canvas, street, rng)
    for z, x, draw in sorted(_cast(street, rng), key=lambda member: -member[0]):
        draw(canvas, street, rng, x, z)
    return develop(canvas, street, rng), canvas.mask


def _cast(street: Street, rng: RNG) -> list[tuple[float, float, Callable[..., None]]]:
    """Distance and X of everything that stands in the street; things may hide each other in part."""
    cast: list[tuple[float, float, Callable[..., None]]] = []
    taken: list[tuple[float, float]] = []  # columns of the picture
    for draw, least, most, near, far, width, where in _CAST:
        for _ in range(rng.integers(least, most + 1)):
            for _attempt in range(8):
                z = rng.uniform(near, far)
                x = _place(street, rng, z, width / 2, where)
                if x is None:
                    continue
                centre, half = street.project(np.array([(x, 0, z)]))[0, 0], street.scale(z) * width / 2
                if all(min(centre + half, b) - max(centre - half, a) < 0.35 * min(2 * half, b - a) for a, b in taken):
                    taken.append((centre - half, centre + half))
                    cast.append((z, x, draw))
                    break
    return cast


def _place(street: Street, rng: RNG, z: float, half: float, where: str) -> float | None:
    """An X on the road or a pavement that the picture shows at distance z; None where it shows too little of them."""
    road, beside = (street.left, street.right), [(street.front_left, street.left), (street.right, street.front_right)]
    strips = {"road": [road], "beside": beside, "anywhere": [road, *beside]}[where]
    left, right = (street.at_column(share * street.size[1], z) for share in (_MARGIN, 1 - _MARGIN))
    room = [(max(a + half, left), min(b - half, right)) for a, b in strips]
    room = [(a, b) for a, b in room if a < b]
    return rng.uniform(*room[rng.integers(len(room))]) if room else None


def develop(canvas: Canvas, street: Street, rng: RNG) -> np.ndarray:
    """The canvas in its light and weather, (H, W, 3) uint8: haze, dusk, cast, uneven light, rain, noise, contrast."""
    image, (height, width) = canvas.image, canvas.size
    if rng.random() < 0.35:
        haze = materials.hsv(rng.uniform(0, 360), rng.uniform(0, 0.08), rng.uniform(0.6, 0.9))
        thickness = 1 - np.exp(-rng.uniform(0.004, 0.025) * np.minimum(canvas.depth, 60))
        image += thickness[..., None] * (haze - image)
    slope_x, slope_y = rng.uniform(-0.15, 0.15, 2)
    uneven = 1 + slope_x * np.linspace(-1, 1, width)[None] + slope_y * np.linspace(-1, 1, height)[:, None]
    light = rng.uniform(0.85, 1.12) * rng.uniform(0.92, 1.08, 3) * (1 - street.dusk * np.array([0.2, 0.38, 0.34]))
    image *= (uneven[..., None] * light).astype(np.float32)
    if rng.random() < 0.2:
        image += _rain(rng, canvas.size)[..., None]
    image += rng.uniform(0, 0.02) * rng.standard_normal((height, width, 1), np.float32)
    return (255 * np.clip(image, 0, 1) ** rng.uniform(0.85, 1.15) + 0.5).astype(np.uint8)


def _rain(rng: RNG, size: tuple[int, int]) -> Array:
    """Bright slanted streaks."""
    length = max(4, size[0] // 16)
    streak = np.zeros((length, length), np.float32)
    cv2.line(streak, (length // 3, 0), (2 * length // 3, length - 1), 1 / length)
    return cv2.filter2D((rng.random(size, np.float32) > 0.99).astype(np.float32), -1, streak)
