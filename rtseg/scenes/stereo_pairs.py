"""Stereo pairs with exact disparities: planes and flat things with textures, at several depths, that hide each other.

A plane of the world has a disparity that is linear in the coordinates of the left image, d = a + b x + c y. A point of
it at x in the left image is at x - d in the right one. So each surface is drawn in both images from one texture, at
coordinates that are exact, and the nearest surface, that of the largest disparity, hides the others.

H, W height and width of an image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from rtseg.scenes import materials
from rtseg.scenes.canvas import RNG, Array

_LARGEST = 1 / 6  # disparity, of the width
_FEWEST, _MOST = 5, 9  # things
_TEXTURE = 256  # side of a texture, which is repeated as its mirror image

Shape = Callable[[Array, Array], Array]  # x, y in the left image -> bool


class DrawnPair(NamedTuple):
    """A pair.

    Attributes:
        left, right: (H, W, 3) uint8 RGB.
        disparity: (H, W) float32 in pixels, of the left image; above 0 everywhere.
    """

    left: Array
    right: Array
    disparity: Array


@dataclass(frozen=True)
class _Surface:
    """A flat thing: d = a + b x + c y where `shape` says that it is.

    Attributes:
        step: pixels of the texture for one of the image, turned by `angle`.
    """

    a: float
    b: float
    c: float
    shape: Shape
    texture: Array
    step: float
    angle: float

    def disparity(self, x: Array, y: Array) -> Array:
        """At points of the left image; -inf where the surface is not."""
        return np.where(self.shape(x, y), self.a + self.b * x + self.c * y, -np.inf)

    def colour(self, x: Array, y: Array) -> Array:
        """(H, W, 3) in 0..1 at points of the left image."""
        cos, sin = self.step * np.cos(self.angle), self.step * np.sin(self.angle)
        u, v = cos * x - sin * y, sin * x + cos * y
        return cv2.remap(
            self.texture, u.astype(np.float32), v.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )

    def seen_from_right(self, x: Array, y: Array) -> Array:
        """The x in the left image of what lies at x in the right one."""
        return (x + self.a + self.c * y) / (1 - self.b)


def draw_pair(rng: RNG, size: tuple[int, int]) -> DrawnPair:
    """Draws one pair.

    Args:
        size: (height, width).
    """
    height, width = size
    surfaces = _surfaces(rng, size)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    left, disparity = _view(surfaces, [x] * len(surfaces), y)
    right, _ = _view(surfaces, [surface.seen_from_right(x, y) for surface in surfaces], y)
    light = rng.uniform(0.85, 1.1)
    return DrawnPair(_developed(left * light, rng), _developed(right * light, rng), disparity.astype(np.float32))


def _view(surfaces: list[_Surface], columns: list[Array], y: Array) -> tuple[Array, Array]:
    """Colour and disparity of the nearest surface at each pixel.

    Args:
        columns: of each surface, the x in the left image of each pixel of the view.
    """
    depths = np.stack([surface.disparity(x, y) for surface, x in zip(surfaces, columns, strict=True)])
    nearest = depths.argmax(0)
    image = np.zeros((*y.shape, 3), np.float32)
    for number, (surface, x) in enumerate(zip(surfaces, columns, strict=True)):
        here = nearest == number
        if here.any():
            image[here] = surface.colour(x, y)[here]
    return image, depths.max(0)


def _surfaces(rng: RNG, size: tuple[int, int]) -> list[_Surface]:
    """A wall, a floor, and things before them."""
    height, width = size
    largest = _LARGEST * width
    wall = rng.uniform(0.05, 0.2) * largest
    slope = rng.uniform(-0.25, 0.25) * wall / width
    surfaces = [_surface(rng, (wall + max(-slope, 0) * width, slope, 0.0), _everywhere)]
    horizon = rng.uniform(0.3, 0.6) * height
    rise = rng.uniform(0.3, 0.7) * largest / (height - horizon)
    surfaces.append(_surface(rng, (-rise * horizon, 0.0, rise), lambda x, y: y > horizon))
    for _ in range(rng.integers(_FEWEST, _MOST + 1)):
        near = rng.uniform(0.25, 0.9) * largest
        centre = rng.uniform(0, width), rng.uniform(0, height)
        reach = rng.uniform(0.06, 0.2) * width
        b, c = rng.uniform(-0.1, 0.1, 2) * near / reach * (rng.random() < 0.6)
        shape = _things(rng, centre, reach)
        surfaces.append(_surface(rng, (near - b * centre[0] - c * centre[1], b, c), shape))
    return surfaces


def _surface(rng: RNG, plane: tuple[float, float, float], shape: Shape) -> _Surface:
    return _Surface(*plane, shape, _texture(rng), rng.uniform(0.5, 1.5), rng.uniform(0, 2 * np.pi))


def _everywhere(x: Array, y: Array) -> Array:
    return np.ones(x.shape, bool)


def _things(rng: RNG, centre: tuple[float, float], reach: float) -> Shape:
    """An ellipse, a rectangle or a triangle, turned by any angle, `reach` pixels from its centre to its far end."""
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.4, 1)
    kind = rng.integers(3)

    def shape(x: Array, y: Array) -> Array:
        u = ((x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)) / reach
        v = ((y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)) / (reach * ratio)
        if kind == 0:
            return u**2 + v**2 < 1
        return np.maximum(abs(u), abs(v)) < 0.8 if kind == 1 else (v < 0.8) & (abs(u) < 0.5 * (v + 1))

    return shape


def _texture(rng: RNG) -> Array:
    """Two colours mixed by noise of several sizes, some with stripes."""
    side = _TEXTURE
    noise = [materials.soft_noise(rng, (side, side), cell) / (2 + k) for k, cell in enumerate((48, 16, 6, 3))]
    mix = np.sum(noise, 0)
    if rng.random() < 0.4:
        mix = mix + 0.6 * (np.arange(side) // rng.integers(6, 24) % 2)
    low, high = mix.min(), mix.max()
    share = ((mix - low) / (high - low))[..., None]
    return (share * materials.any_paint(rng) + (1 - share) * 0.6 * materials.any_paint(rng)).astype(np.float32)


def _developed(image: Array, rng: RNG) -> Array:
    """uint8, with the noise of a camera of its own."""
    noisy = image + 0.01 * rng.standard_normal((*image.shape[:2], 1), np.float32)
    return (255 * np.clip(noisy, 0, 1) + 0.5).astype(np.uint8)
