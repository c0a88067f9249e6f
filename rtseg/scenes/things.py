"""Things on a table, with an exact mask of each: images to learn the segmentation of instances from.

A thing is known by its outline alone: colours and textures are the same for all classes. A ring has a hole, things hide
each other in part, some images are empty, and some hold a heap of small discs, which is annotated as one crowd.
"""

from typing import NamedTuple

import numpy as np

from rtseg.scenes.canvas import RNG, Array, Canvas, Painter, ellipse
from rtseg.scenes.materials import any_paint, soft_noise

THINGS = ("disc", "ring", "triangle", "square", "star")
_EMPTY, _CROWDED = 0.1, 0.15  # shares of the images
_MOST = 5  # things in an image
_ROOM = 0.75  # distance of two things as a share of their radii: below 1 one may hide a part of the other
_CONTRAST = 0.3  # least distance of a colour from the table's


class Thing(NamedTuple):
    """One annotated object.

    Attributes:
        kind: number in `THINGS`.
        mask: (H, W) bool, its pixels that are seen.
        crowd: whether these are many things.
    """

    kind: int
    mask: np.ndarray
    crowd: bool


def draw_things(rng: RNG, size: tuple[int, int]) -> tuple[np.ndarray, list[Thing]]:
    """Draws one image.

    Args:
        size: (height, width).

    Returns:
        image (H, W, 3) uint8 RGB, and what is in it.
    """
    canvas, table = Canvas(size), any_paint(rng)
    canvas.image[:] = _textured(rng, table, size)
    kinds: list[int] = []
    crowded = False
    if rng.random() >= _EMPTY:
        crowded = rng.random() < _CROWDED
        if crowded:
            _heap(canvas, rng, table)
        kinds = _draw_each(canvas, rng, table, first=int(crowded))
    light = rng.uniform(0.8, 1.1) + rng.uniform(-0.2, 0.2) * np.linspace(-1, 1, size[1])[:, None]
    image = canvas.image * light + rng.uniform(0, 0.03) * rng.standard_normal((*size, 1))
    things = [Thing(0, canvas.mask == 0, crowd=True)] if crowded else []
    things += [Thing(kind, canvas.mask == k, crowd=False) for k, kind in enumerate(kinds, int(crowded))]
    return (255 * np.clip(image, 0, 1) + 0.5).astype(np.uint8), [thing for thing in things if thing.mask.any()]


def _draw_each(canvas: Canvas, rng: RNG, table: Array, first: int) -> list[int]:
    """Draws single things; the mask gets the number of each, from `first` on. Returns their kinds."""
    height, width = canvas.size
    kinds: list[int] = []
    placed: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(1, _MOST + 1)):
        kind, radius = int(rng.integers(len(THINGS))), rng.uniform(0.1, 0.24) * min(height, width)
        x, y = rng.uniform(0.5 * radius, width - 0.5 * radius), rng.uniform(0.5 * radius, height - 0.5 * radius)
        if any(np.hypot(x - u, y - v) < _ROOM * (radius + r) for u, v, r in placed):
            continue
        shape = np.add(_outline(kind, rng.uniform(0, 2 * np.pi), radius), (x, y))
        canvas.paint([shape], _paint(rng, table), first + len(kinds), 0.0)
        placed.append((x, y, radius))
        kinds.append(kind)
    return kinds


def _heap(canvas: Canvas, rng: RNG, table: Array) -> None:
    """Many small discs, all of them number 0 in the mask."""
    height, width = canvas.size
    unit = min(height, width)
    centre = rng.uniform(0.2, 0.8, 2) * (width, height)
    for _ in range(rng.integers(12, 30)):
        x, y = centre + 0.12 * unit * rng.standard_normal(2)
        canvas.paint([ellipse((x, y), rng.uniform(0.03, 0.05) * unit)], _paint(rng, table), 0, 0.0)


def _outline(kind: int, turn: float, radius: float) -> np.ndarray:
    """(N, 2) points around (0, 0)."""
    if kind < 2:
        disc = ellipse((0, 0), radius)
        return disc if kind == 0 else np.concatenate([disc, ellipse((0, 0), 0.5 * radius)[::-1]])
    corners = (3, 4, 10)[kind - 2]
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    reach = radius * np.where(np.arange(corners) % 2, 0.45, 1.0) if kind == 4 else np.full(corners, radius)
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1)


def _paint(rng: RNG, table: Array) -> Painter:
    colour = any_paint(rng)
    while np.abs(colour - table).max() < _CONTRAST:
        colour = any_paint(rng)
    return lambda x, y: _textured(rng, colour, (y.size, x.size))


def _textured(rng: RNG, colour: Array, size: tuple[int, int]) -> Array:
    """(H, W, 3) in soft spots."""
    return colour * (0.8 + 0.4 * soft_noise(rng, size, rng.uniform(4, 12)))[..., None]
