"""One street scene: what stands where, then light and weather over the whole picture."""

import numpy as np

from rtseg.data.synthetic import materials, objects
from rtseg.data.synthetic.canvas import Array, Canvas
from rtseg.data.synthetic.street import Street, draw_ground, draw_sides, draw_sky, draw_tree

RNG = np.random.Generator
CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")


def draw_scene(rng: RNG, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Draws a street that nobody has seen before.

    Args:
        size: (height, width).

    Returns:
        image (H, W, 3) uint8 RGB, mask (H, W) uint8 of CLASSES.
    """
    street = Street.random(rng, size)
    canvas = Canvas(size)
    draw_sky(canvas, street, rng)
    draw_ground(canvas, street, rng)
    draw_sides(canvas, street, rng)
    for z, draw, x in sorted(_cast(street, rng), key=lambda item: -item[0]):
        draw(canvas, street, rng, x, z)
    return _develop(canvas, street, rng), canvas.mask


def _cast(street, rng):
    items = []
    road = street.left, street.right

    def on_road(z, margin=1.0):
        lo, hi = _visible(street, z)
        return rng.uniform(max(road[0] + margin, lo), min(road[1] - margin, hi)) if max(road[0] + margin, lo) < min(road[1] - margin, hi) else None

    def on_pavement(z, margin=0.4):
        lo, hi = _visible(street, z)
        sides = []
        for a, b in ((street.far_left, street.left), (street.right, street.far_right)):
            a, b = max(a + margin, lo), min(b - margin, hi)
            if a < b:
                sides.append((a, b))
        if not sides:
            return None
        a, b = sides[rng.integers(len(sides))]
        return rng.uniform(a, b)

    for draw, place, counts, near, far in (
        (objects.draw_car, on_road, (1, 2), 6, 12),
        (objects.draw_pedestrian, on_pavement, (1, 2), 3.5, 6),
        (objects.draw_bicyclist, on_road, (0, 1), 4, 7),
        (objects.draw_lamp, on_pavement, (1, 2), 4, 8),
        (objects.draw_sign, on_pavement, (1, 2), 4, 8),
        (draw_tree, on_pavement, (0, 1), 6, 12),
    ):
        for _ in range(rng.integers(counts[0], counts[1] + 1)):
            z = rng.uniform(near, far)
            x = place(z)
            if x is not None:
                items.append((z, draw, x))
    return items


def _visible(street, z):
    w = street.size[1]
    lo = (0.06 * w - street.centre_x) * z / street.focal - street.bend * z**2
    hi = (0.94 * w - street.centre_x) * z / street.focal - street.bend * z**2
    return lo, hi


def _develop(canvas: Canvas, street: Street, rng: RNG) -> np.ndarray:
    image, (height, width) = canvas.image, canvas.size
    if rng.random() < 0.4:
        haze = materials.hsv(rng.uniform(0, 360), rng.uniform(0, 0.1), rng.uniform(0.5, 0.9))
        thick = 1 - np.exp(-np.minimum(canvas.depth, 90) * rng.uniform(0.005, 0.035))
        image += thick[..., None] * (haze - image)
    dusk = street.dusk
    light = np.array([1 + 0.1 * dusk, 1 - 0.12 * dusk, 1 - 0.1 * dusk]) * rng.uniform(0.88, 1.12, 3) * rng.uniform(0.75, 1.15) * (1 - 0.35 * dusk)
    slope = rng.uniform(-0.2, 0.2, 2)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    image *= ((1 + slope[0] * x + slope[1] * y)[..., None] * light).astype(np.float32)
    if rng.random() < 0.25:
        drops = (rng.random((height, width), np.float32) > 0.985).astype(np.float32)
        import cv2
        n = max(3, height // 16)
        kernel = np.eye(n, dtype=np.float32)
        kernel = cv2.warpAffine(np.eye(n, dtype=np.float32), np.float32([[0.4, 0, n * 0.3], [0, 1, 0]]), (n, n))
        kernel /= max(kernel.sum(), 1e-3)
        image += 1.2 * cv2.filter2D(drops, -1, kernel)[..., None]
    image += rng.uniform(0.0, 0.03) * rng.standard_normal((height, width, 1), np.float32)
    return (np.clip(image, 0, 1) ** rng.uniform(0.8, 1.2) * 255 + 0.5).astype(np.uint8)
