"""Colours and textures.

Facades, cars, clothes, signs, fences and posts draw from overlapping ranges of colour, so that a colour does not give a
class away; texture and shape do.
"""

import colorsys
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from rtseg.scenes.canvas import RNG, Array

# Cumulative share, then the limits of hue in degrees, saturation and value.
Kind = tuple[float, tuple[float, float], tuple[float, float], tuple[float, float]]
_PAINTS: tuple[Kind, ...] = (
    (0.35, (0, 360), (0, 0.08), (0.15, 0.9)),
    (0.6, (5, 48), (0.2, 0.6), (0.3, 0.9)),
    (0.8, (185, 235), (0.15, 0.65), (0.3, 0.85)),
    (0.9, (75, 160), (0.15, 0.55), (0.25, 0.7)),
)
_LEAVES: tuple[Kind, ...] = (
    (0.7, (75, 140), (0.3, 0.65), (0.3, 0.65)),
    (0.9, (15, 52), (0.45, 0.75), (0.45, 0.75)),
)


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Hue in degrees, the others 0..1 -> RGB."""
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)


def _mixture(rng: RNG, kinds: Sequence[Kind], rest: Callable[[RNG], Array]) -> Array:
    """A colour of one of several kinds, by their cumulative shares; beyond the last, of the rest."""
    share = rng.random()
    for most, *ranges in kinds:
        if share < most:
            hue, saturation, value = (rng.uniform(*limits) for limits in ranges)
            return hsv(hue, saturation, value)
    return rest(rng)


def any_paint(rng: RNG) -> Array:
    """The colour of anything people make."""
    return _mixture(rng, _PAINTS, vivid)


def usually(rng: RNG, usual: Callable[[RNG], Array], share: float) -> Array:
    """The usual colour in this share of cases, else any."""
    return usual(rng) if rng.random() < share else any_paint(rng)


def vivid(rng: RNG) -> Array:
    """Red, yellow or blue enamel."""
    return hsv(rng.choice([0.0, 48.0, 215.0]) + rng.uniform(-8, 8), rng.uniform(0.65, 0.9), rng.uniform(0.6, 0.9))


def plaster(rng: RNG) -> Array:
    """Brick, sandstone, cream."""
    return hsv(rng.uniform(8, 48), rng.uniform(0.15, 0.5), rng.uniform(0.45, 0.85))


def metal(rng: RNG) -> Array:
    """Galvanised or painted steel."""
    return hsv(rng.uniform(190, 240), rng.uniform(0, 0.15), rng.uniform(0.2, 0.6))


def wood(rng: RNG) -> Array:
    """Stained or white boards."""
    return hsv(rng.uniform(18, 38), rng.uniform(0.1, 0.65), rng.uniform(0.4, 0.9))


def asphalt(rng: RNG) -> Array:
    """Grey with a tint, dark or worn."""
    return hsv(rng.choice([30.0, 220.0]), rng.uniform(0, 0.12), rng.uniform(0.27, 0.52))


def slab(rng: RNG) -> Array:
    """Concrete, sandstone or clinker."""
    return hsv(rng.uniform(10, 45), rng.uniform(0, 0.28), rng.uniform(0.42, 0.75))


def foliage(rng: RNG) -> Array:
    """Leaves: mostly green, some in autumn or in blossom."""
    return _mixture(rng, _LEAVES, blossom)


def blossom(rng: RNG) -> Array:
    """Pink to white."""
    return hsv(rng.uniform(310, 350), rng.uniform(0.15, 0.35), rng.uniform(0.55, 0.85))


def soft_noise(rng: RNG, size: tuple[int, int], cell: float) -> Array:
    """Smooth noise (height, width) in about 0..1, whose blobs are `cell` pixels wide."""
    coarse = rng.random((int(size[0] / cell) + 3, int(size[1] / cell) + 3), np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def leaves(rng: RNG, size: tuple[int, int], colour: Array, cell: float) -> Array:
    """Clumps of leaves with dark gaps between them, (height, width, 3)."""
    fine, clumps = soft_noise(rng, size, cell), soft_noise(rng, size, 4 * cell)
    tone = 0.2 + 0.75 * fine + 0.5 * clumps
    tone[fine < 0.3] *= 0.6
    return tone[..., None] * colour


def facade(rng: RNG, length: float, height: float, ppm: float, lit: float) -> Array:
    """The front of a house: storeys of windows over a ground floor of windows or shops, (rows, columns, 3).

    Args:
        length, height: metres.
        ppm: pixels a metre.
        lit: share of windows with a light on.
    """
    storeys, bays = max(1, round(height / 3)), max(1, round(length / rng.uniform(1.9, 3)))
    rows, columns = max(6, round(height / storeys * ppm)), max(6, round(length / bays * ppm))
    wall, trim = usually(rng, plaster, 0.55), any_paint(rng)
    plain = np.zeros((rows, columns, 4), np.float32)  # the fourth channel marks glass
    plain[..., :3] = wall
    if rng.random() < 0.6:  # courses of brick or boards
        plain[:: max(2, round(ppm * rng.uniform(0.25, 0.5))), :, :3] *= rng.uniform(0.72, 0.9)
    plain[: max(1, round(ppm * 0.12)), :, :3] *= 0.75  # the line between two storeys
    line = max(1, round(ppm * 0.12))
    upper = _bay(plain, trim, line, rng.uniform(0.15, 0.26), rng.uniform(0.68, 0.82), rng.uniform(0.16, 0.28))
    shop = rng.random() < 0.5
    ground = _bay(plain, trim, line, 0.3, 0.97, 0.1) if shop else upper
    texture = np.concatenate([np.tile(upper, (storeys - 1, bays, 1)), np.tile(ground, (1, bays, 1))])

    # Each window mirrors another piece of the street; some are lit.
    glass = hsv(rng.uniform(190, 240), rng.uniform(0, 0.35), rng.uniform(0.1, 0.42))
    glass = rng.uniform(0.6, 1.6, (storeys, bays, 1)) * glass
    glass[rng.random((storeys, bays)) < lit] = (0.98, 0.82, 0.5)
    is_glass = texture[..., 3] > 0
    texture = texture[..., :3]
    texture[is_glass] = glass.repeat(rows, 0).repeat(columns, 1)[is_glass]
    if shop:
        stripes = np.arange(texture.shape[1]) // max(1, round(0.35 * ppm)) % 2
        texture[-rows : -rows + round(0.22 * rows)] = (1 - 0.4 * stripes[:, None]) * any_paint(rng)
    texture[: max(1, round(0.4 * ppm))] = wall * rng.uniform(0.5, 0.8)  # eaves
    return texture * (0.9 + 0.2 * soft_noise(rng, texture.shape[:2], 8))[..., None]


def _bay(plain: Array, trim: Array, line: int, top: float, bottom: float, side: float) -> Array:
    """A piece of wall with a window between these shares of its height and of its width."""
    rows, columns = plain.shape[:2]
    y0, y1, x0, x1 = round(rows * top), round(rows * bottom), round(columns * side), round(columns * (1 - side))
    bay = plain.copy()
    bay[max(0, y0 - line) : y1 + line, max(0, x0 - line) : x1 + line, :3] = trim
    bay[y0:y1, x0:x1, 3] = 1
    bay[:, columns // 2 : columns // 2 + line, 3] = 0
    return bay


def fence(rng: RNG, length: float, height: float, ppm: float, kind: int | None = None) -> Array:
    """Boards (kind 0), railings (1) or mesh (2), (rows, columns, 4): the gaps are see-through but part of the fence."""
    rows, columns = max(6, round(height * ppm)), max(6, round(length * ppm))
    x, y = np.arange(columns) / ppm, np.arange(rows)[:, None] / ppm
    kind = int(rng.choice(3, p=[0.6, 0.3, 0.1])) if kind is None else kind
    period = rng.uniform(0.34, 0.42)
    across = x / period % 1
    if kind == 2:
        solid = ((x + y) / period % 1 < 0.25) | ((x - y) / period % 1 < 0.25)
    else:
        solid = np.broadcast_to(across < (0.7, 0.4)[kind], (rows, columns)).copy()
    for rail in (0.08, 0.8):
        solid |= abs(y / height - rail) < 0.05
    solid |= x % 2.4 < 0.16
    texture = np.empty((rows, columns, 4), np.float32)
    texture[..., :3] = usually(rng, wood, 0.75) * np.where(solid, 1.1 - 0.3 * across, 0.25)[..., None]
    texture[..., 3] = np.where(solid, 1, 0.55)
    return texture
