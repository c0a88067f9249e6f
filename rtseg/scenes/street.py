"""The fixed parts of a street: camera, sky, ground, and the houses, fences and trees along both sides.

Metres: X right, Y up, Z ahead of the camera; the street bends sideways by bend * Z^2.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from rtseg.scenes import materials
from rtseg.scenes.canvas import RNG, Array, Canvas, ellipse
from rtseg.scenes.materials import hsv

SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
NEAR, FAR = 1.3, 32.0  # where the houses begin and the street ends


@dataclass(frozen=True)
class Street:
    """One street and how it is seen.

    Attributes:
        size: (height, width) of the picture.
        focal, centre_x, horizon: of the camera, pixels.
        eye: its height.
        tilt: how far it leans, a slope.
        bend: of the street, 1/m.
        left, right: X of the kerbs.
        front_left, front_right: X of the house fronts.
        dusk: 0 by day, up to 1 after sunset.
    """

    size: tuple[int, int]
    focal: float
    centre_x: float
    horizon: float
    eye: float
    tilt: float
    bend: float
    left: float
    right: float
    front_left: float
    front_right: float
    dusk: float

    @classmethod
    def random(cls, rng: RNG, size: tuple[int, int]) -> Self:
        """A street that nobody has seen before."""
        height, width = size
        road = rng.uniform(4.8, 7)
        left = -road * rng.uniform(0.1, 0.9)
        return cls(
            size,
            focal=rng.uniform(0.95, 1.25) * height,
            centre_x=rng.uniform(0.3, 0.7) * width,
            horizon=rng.uniform(0.27, 0.48) * height,
            eye=rng.uniform(1.7, 2.5),
            tilt=rng.normal(0, 0.02),
            bend=rng.uniform(-0.006, 0.006),
            left=left,
            right=left + road,
            front_left=left - rng.uniform(2.8, 5.5),
            front_right=left + road + rng.uniform(2.8, 5.5),
            dusk=max(0.0, rng.uniform(-1.5, 1)),
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) metres -> (N, 2) pixels."""
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        across = self.focal * (x + self.bend * z**2) / z
        down = self.focal * (self.eye - y) / z + self.tilt * across
        return np.stack([self.centre_x + across, self.horizon + down], 1)

    def scale(self, z: float) -> float:
        """Pixels a metre at distance z."""
        return self.focal / z

    def at_column(self, column: float, z: float) -> float:
        """The X that lies in this pixel column at distance z."""
        return (column - self.centre_x) * z / self.focal - self.bend * z**2


def draw_sky(canvas: Canvas, street: Street, rng: RNG) -> None:
    """A gradient and clouds, over the whole picture."""
    height, _ = street.size
    grey = rng.uniform(0.55, 0.88)
    weathers = (  # colour overhead and at the horizon: clear, overcast, hazy, dusk
        (hsv(rng.uniform(200, 225), rng.uniform(0.3, 0.65), rng.uniform(0.6, 0.95)), hsv(205, 0.12, 0.95)),
        (hsv(215, 0.06, grey), hsv(40, 0.03, min(1, grey + 0.08))),
        (hsv(40, 0.2, 0.75), hsv(45, 0.15, 0.9)),
        (hsv(rng.uniform(220, 270), 0.35, 0.55), hsv(rng.uniform(-10, 45), 0.5, 0.95)),
    )
    high, low = weathers[3 if street.dusk > 0.3 else rng.choice(3, p=[0.5, 0.35, 0.15])]
    down = np.clip(np.arange(height, dtype=np.float32) / street.horizon, 0, 1)[:, None, None]
    canvas.image[:] = high + down * (low - high)
    clouds = materials.soft_noise(rng, street.size, height * rng.uniform(0.12, 0.3))
    cover = np.clip((clouds - rng.uniform(0.35, 0.9)) * 1.6, 0, rng.uniform(0.3, 0.8))[..., None]
    canvas.image += cover * (np.float32(rng.uniform(0.8, 1)) - canvas.image)
    canvas.mask[:] = SKY


def draw_ground(canvas: Canvas, street: Street, rng: RNG) -> None:
    """Road with its marks, kerbs, pavements of slabs: everything below the horizon."""
    height, width = street.size
    top = int(max(0, street.horizon - abs(street.tilt) * width))
    across = np.arange(width, dtype=np.float32)[None] - street.centre_x
    drop = np.arange(top, height, dtype=np.float32)[:, None] - street.horizon - street.tilt * across
    z = street.focal * street.eye / np.maximum(drop, 0.5)
    x = across * z / street.focal - street.bend * z**2
    road = (x > street.left) & (x < street.right)
    fine = np.clip(1.4 - z / 22, 0, 1)  # marks fade where they get smaller than a pixel
    grain = rng.random(z.shape, np.float32) - 0.5
    stains = materials.soft_noise(rng, z.shape, height / 10) - 0.5

    tone = np.where(road, 1 + rng.uniform(0.2, 0.4) * grain + 0.2 * stains, 1 + 0.1 * grain + 0.15 * stains)
    side, length = rng.uniform(0.55, 0.9), rng.uniform(0.6, 1.0)
    row, column = z / length, x / side + 0.5 * (np.floor(z / length) % 2) * rng.integers(2)
    joints = (row % 1 < 0.09) | (column % 1 < 0.09)
    checks = np.sin(np.floor(row) * 12.9898 + np.floor(column) * 78.233) * 43758.5453 % 1  # a number 0..1 for each slab
    slabs = (1 + 0.3 * fine * (checks - 0.5)) * (1 - rng.uniform(0.35, 0.5) * fine * joints)
    tone = np.where(road, tone, tone * slabs)
    kerbs = (abs(x - street.left + 0.12) < 0.12) | (abs(x - street.right - 0.12) < 0.12)
    tone = np.where(kerbs, rng.uniform(1.2, 1.45), tone)
    dark = materials.asphalt(rng)
    light = dark * rng.uniform(0.9, 1.25) if rng.random() < 0.25 else materials.slab(rng)
    colour = tone[..., None] * np.where(road[..., None], dark, light)

    paint = (0.9 + 0.3 * grain[..., None]) * hsv(50, rng.choice([0.05, 0.6], p=[0.8, 0.2]), 0.95)
    colour = np.where((road & _road_marks(street, rng, x, z))[..., None], paint, colour)
    below = drop > 0.5
    canvas.image[top:][below] = colour[below]
    canvas.mask[top:][below] = np.where(road, ROAD, PAVEMENT)[below]
    canvas.depth[top:][below] = z[below]


def _road_marks(street: Street, rng: RNG, x: Array, z: Array) -> np.ndarray:
    """Where the road is painted: middle line, edge lines, zebra crossing."""
    marks = (abs(x - (street.left + street.right) / 2) < 0.11) & ((z + rng.uniform(0, 6)) % 5 < rng.uniform(2, 5.5))
    if rng.random() < 0.6:
        inset = rng.uniform(0.25, 0.6)
        marks |= (abs(x - street.left - inset) < 0.07) | (abs(x - street.right + inset) < 0.07)
    if rng.random() < 0.35:
        start = rng.uniform(5, 14)
        marks |= (z > start) & (z < start + 3.5) & (x % 1.0 < 0.5)
    return marks


def draw_sides(canvas: Canvas, street: Street, rng: RNG) -> None:
    """The end of the street, then the lots along both sides, far ones first."""
    x = street.front_left - 20
    while x < street.front_right + 20:
        width, height = rng.uniform(7, 14), rng.uniform(6, 12)
        if rng.random() < 0.7:
            texture = materials.facade(rng, width, height, max(street.scale(FAR), 3), 0.4 * street.dusk)
            draw_wall(canvas, street, texture, BUILDING, (x, FAR), (x + width, FAR), height)
        else:
            _crown(canvas, street, rng, x + width / 2, height * 0.35, FAR, width * 0.6, height * 0.5)
        x += width
    lots = []
    for front, outward in ((street.front_left, -1), (street.front_right, 1)):
        z, gardens = NEAR, rng.uniform(0.4, 1)
        while z < FAR:
            length = rng.uniform(6, 12)
            lots.append((z, z + length, front, outward, _garden if z < 15 and rng.random() < gardens else _house))
            z += length
    for z, end, front, outward, draw in sorted(lots, key=lambda lot: -lot[0]):
        draw(canvas, street, rng, front, outward, z, end)


def draw_wall(
    canvas: Canvas,
    street: Street,
    texture: Array,
    label: int,
    start: tuple[float, float],
    end: tuple[float, float],
    height: float,
) -> None:
    """An upright wall between two points (X, Z) of the ground; the texture's left edge is at the start."""
    (x0, z0), (x1, z1) = start, end
    corners = street.project(np.array([(x0, height, z0), (x1, height, z1), (x1, 0, z1), (x0, 0, z0)]))
    canvas.wall(corners, texture, label, (z0, z1))


def _house(canvas: Canvas, street: Street, rng: RNG, front: float, outward: int, z: float, end: float) -> None:
    """A house: its front along the street, and the side wall that shows above a lower neighbour."""
    height = rng.uniform(5, 13)
    ppm = float(np.clip(0.8 * street.scale(max(z, 4.0)), 4, street.size[0] / 12))
    texture = materials.facade(rng, end - z, height, ppm, 0.5 * street.dusk)
    side = texture[:, : texture.shape[1] // 2] * np.float32(rng.uniform(0.55, 0.9))
    draw_wall(canvas, street, side, BUILDING, (front, z), (front + outward * 8, z), height)
    draw_wall(canvas, street, texture * np.float32(rng.uniform(0.75, 1.1)), BUILDING, (front, z), (front, end), height)


def _garden(canvas: Canvas, street: Street, rng: RNG, front: float, outward: int, z: float, end: float) -> None:
    """Trees behind a fence or a hedge, which hides the ground behind it."""
    for at in np.arange(end - 2, max(z, 4), -4):
        x, y, size = front + outward * rng.uniform(2, 4), rng.uniform(2.6, 4), rng.uniform(2.2, 3.2)
        _crown(canvas, street, rng, x, y, at, size, size * rng.uniform(0.9, 1.3))
    height = rng.uniform(1.15, 1.45) * street.eye
    ppm = float(np.clip(street.scale(max(z, 4.0)), 4, street.size[0] / 8))
    if rng.random() < 0.85:
        texture, label = materials.fence(rng, end - z, height, ppm), FENCE
    else:
        shape = max(4, round(height * ppm)), max(4, round((end - z) * ppm))
        texture, label = materials.leaves(rng, shape, materials.foliage(rng), ppm * 0.15), TREE
    draw_wall(canvas, street, texture, label, (front, z), (front, end), height)


def _crown(canvas: Canvas, street: Street, rng: RNG, x: float, y: float, z: float, width: float, height: float) -> None:
    """The crown of a tree around a point: a heap of discs, lit from above. width and height are half its size."""
    (column, row), unit = street.project(np.array([(x, y, z)]))[0], street.scale(z)
    colour, cell = materials.foliage(rng), max(2.0, street.size[0] / 64 * min(1, 8 / z))
    blobs = [ellipse((column, row), 0.7 * width * unit, 0.7 * height * unit)]
    for _ in range(9):
        angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 0.75) * unit
        centre = column + reach * width * np.cos(angle), row + reach * height * np.sin(angle)
        blobs.append(ellipse(centre, rng.uniform(0.3, 0.5) * min(width, height) * unit))

    def painter(xs: Array, ys: Array) -> Array:
        light = 1.2 - 0.4 * np.clip((ys - row) / (height * unit) + 0.5, 0, 1)
        return materials.leaves(rng, (ys.size, xs.size), colour, cell) * light[..., None]

    canvas.paint(blobs, painter, TREE, z)


def draw_tree(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A street tree: trunk and crown."""
    half, height = rng.uniform(0.22, 0.32), rng.uniform(2.4, 3.4)
    top = height + 1
    trunk = np.array([(x - half, 0, z), (x + half, 0, z), (x + 0.7 * half, top, z), (x - 0.7 * half, top, z)])
    bark = hsv(rng.uniform(15, 40), rng.uniform(0.2, 0.45), rng.uniform(0.2, 0.45))

    def rough(xs: Array, ys: Array) -> Array:
        return bark * (0.6 + 0.8 * materials.soft_noise(rng, (ys.size, xs.size), 2.5))[..., None]

    canvas.paint([street.project(trunk)], rough, TREE, z)
    size = rng.uniform(1.4, 2)
    _crown(canvas, street, rng, x, height + 0.9 * size, z, size, size * rng.uniform(0.8, 1.2))
