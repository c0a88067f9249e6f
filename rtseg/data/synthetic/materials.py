"""Colours and textures. Cars, facades, clothes, signs and posts draw their colours from one range, so that colour does not give a class away."""

import colorsys

import cv2
import numpy as np

from rtseg.data.synthetic.canvas import Array

RNG = np.random.Generator


def hsv(hue: float, saturation: float, value: float) -> Array:
    """Hue in degrees, the others 0..1 -> RGB."""
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)


def any_paint(rng: RNG) -> Array:
    """The colour of anything people make."""
    kind = rng.random()
    if kind < 0.35:
        return hsv(rng.uniform(0, 360), rng.uniform(0, 0.08), rng.uniform(0.15, 0.9))
    if kind < 0.6:
        return hsv(rng.uniform(5, 48), rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9))
    if kind < 0.8:
        return hsv(rng.uniform(185, 235), rng.uniform(0.15, 0.65), rng.uniform(0.3, 0.85))
    if kind < 0.9:
        return hsv(rng.uniform(75, 160), rng.uniform(0.15, 0.55), rng.uniform(0.25, 0.7))
    return hsv(rng.uniform(-15, 55), rng.uniform(0.6, 0.85), rng.uniform(0.5, 0.9))


def stone(rng: RNG) -> Array:
    """Asphalt, slabs, concrete: grey with a tint."""
    return hsv(rng.choice([20.0, 35.0, 220.0]), rng.uniform(0, 0.2), rng.uniform(0.28, 0.7))


def foliage(rng: RNG) -> Array:
    """Leaves in spring, summer, autumn and blossom."""
    kind = rng.random()
    if kind < 0.55:
        return hsv(rng.uniform(70, 140), rng.uniform(0.25, 0.65), rng.uniform(0.25, 0.65))
    if kind < 0.85:
        return hsv(rng.uniform(10, 52), rng.uniform(0.4, 0.75), rng.uniform(0.4, 0.75))
    return hsv(rng.uniform(300, 350), rng.uniform(0.1, 0.35), rng.uniform(0.5, 0.85))


def soft_noise(rng: RNG, size: tuple[int, int], cell: float) -> Array:
    """Smooth noise (height, width) in about 0..1 whose blobs are `cell` pixels wide."""
    coarse = rng.random((int(size[0] / cell) + 3, int(size[1] / cell) + 3), np.float32)
    return cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)


def leaves(rng: RNG, size: tuple[int, int], colour: Array, cell: float) -> Array:
    """Clumps of leaves, dark gaps between them: (height, width, 3)."""
    fine, clumps = soft_noise(rng, size, cell), soft_noise(rng, size, 4 * cell)
    tone = 0.45 + 0.75 * fine + 0.5 * (clumps - 0.5)
    tone[fine < 0.3] *= 0.6
    return tone[..., None] * colour


def facade(rng: RNG, length: float, height: float, ppm: float, lit: float) -> Array:
    """The front of a house: storeys of windows over a ground floor, (rows, columns, 3).

    Args:
        length, height: metres.
        ppm: pixels a metre.
        lit: share of windows with a light on.
    """
    storeys, bays = max(1, round(height / 3)), max(1, round(length / rng.uniform(1.9, 3)))
    rows, columns = max(6, round(height / storeys * ppm)), max(6, round(length / bays * ppm))
    line = max(1, round(ppm * 0.12))
    wall, trim = any_paint(rng), any_paint(rng)
    glass = hsv(rng.uniform(190, 240), rng.uniform(0, 0.35), rng.uniform(0.08, 0.45))
    shop = rng.random() < 0.5

    plain = np.empty((rows, columns, 3), np.float32)
    plain[:] = wall
    if rng.random() < 0.6:  # courses of brick, stone or boards
        plain[:: max(2, round(ppm * rng.uniform(0.25, 0.5)))] *= rng.uniform(0.72, 0.9)
    cross_bar = rng.random() < 0.5

    def bay(top: float, bottom: float, side: float) -> tuple[Array, np.ndarray]:
        """One bay with a window between these shares of its height and width, and where its glass is."""
        y0, y1, x0 = round(rows * top), round(rows * bottom), round(columns * side)
        pixels, pane = plain.copy(), np.zeros((rows, columns), bool)
        pixels[max(0, y0 - line) : y1 + line, max(0, x0 - line) : columns - x0 + line] = trim
        pane[y0:y1, x0 : columns - x0] = True
        pane[:, columns // 2 : columns // 2 + line] = False
        if cross_bar:
            pane[(y0 + y1) // 2 : (y0 + y1) // 2 + line] = False
        pixels[pane] = glass
        pixels[:line] *= 0.75  # the line between two storeys
        return pixels, pane

    upper = bay(rng.uniform(0.15, 0.26), rng.uniform(0.68, 0.82), rng.uniform(0.16, 0.28))
    ground = bay(0.3, 0.97, 0.1) if shop else upper
    texture, panes = (
        np.concatenate([np.tile(upper[k], (storeys - 1, bays, *[1] * (2 - k))[: 3 - k]), np.tile(ground[k], (1, bays, 1)[: 3 - k])])
        for k in range(2)
    )
    # Each window mirrors another piece of the street, some are lit.
    glow = rng.uniform(0.6, 1.6, (storeys, bays, 1)) * glass
    glow[rng.random((storeys, bays)) < lit] = (0.98, 0.82, 0.5)
    texture[panes] = glow.repeat(rows, 0).repeat(columns, 1)[panes]
    if shop:
        awning = texture[-rows : -rows + round(0.22 * rows)]
        awning[:] = any_paint(rng)
        awning[:, np.arange(awning.shape[1]) * 2 // max(1, round(0.7 * ppm)) % 2 == 0] *= 0.6
    texture[: max(1, round(0.4 * ppm))] = wall * rng.uniform(0.5, 0.8)  # eaves
    texture *= (0.9 + 0.2 * soft_noise(rng, texture.shape[:2], 8))[..., None]
    return texture


def fence(rng: RNG, length: float, height: float, ppm: float) -> Array:
    """Boards, railings or mesh, (rows, columns, 4): the gaps are open but belong to the fence."""
    rows, columns = max(6, round(height * ppm)), max(6, round(length * ppm))
    x, y = np.arange(columns) / ppm, np.arange(rows)[:, None] / ppm
    period, kind = rng.uniform(0.3, 0.42), rng.integers(3)
    across = x / period % 1
    if kind == 0:
        solid = (across < rng.uniform(0.6, 0.75)) & (y >= 0)
    elif kind == 1:
        solid = (across < 0.32) & (y >= 0)
    else:
        solid = ((x + y) / period % 1 < 0.25) | ((x - y) / period % 1 < 0.25)
    for rail in (0.06, 0.8):
        solid |= abs(y / height - rail) < 0.05
    solid |= x % 2.4 < 0.16
    texture = np.empty((rows, columns, 4), np.float32)
    texture[..., :3] = any_paint(rng)
    texture[..., :3] *= (0.75 + 0.5 * np.minimum(across * 1.5, 1))[None, :, None]  # each board is rounded by its shade
    texture[..., 3] = solid
    return texture
