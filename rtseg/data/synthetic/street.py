"""The fixed parts of a street, in metres: camera, sky, ground, and the rows of houses, fences and trees along both sides.

X right, Y up, Z ahead of the camera; the street bends sideways by `bend` * Z^2.
"""

from dataclasses import dataclass

import numpy as np

from rtseg.data.synthetic import materials
from rtseg.data.synthetic.canvas import Array, Canvas, ellipse

RNG = np.random.Generator
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
FAR = 32.0  # where the street ends
NEAR = 1.3  # nearer than this nothing is drawn


@dataclass(frozen=True)
class Street:
    """One street and how it is seen.

    focal, centre_x, horizon: pixels. eye: height of the camera. left, right: X of the kerbs; far_left, far_right: of the house fronts.
    dusk: 0 by day, 1 after sunset.
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
    far_left: float
    far_right: float
    dusk: float

    @classmethod
    def random(cls, rng: RNG, size: tuple[int, int]) -> "Street":
        height, width = size
        road = rng.uniform(5.5, 8.5)
        left = -road * rng.uniform(0.15, 0.85)
        return cls(
            size,
            focal=rng.uniform(0.95, 1.3) * height,
            centre_x=width * rng.uniform(0.25, 0.75),
            horizon=height * rng.uniform(0.26, 0.5),
            eye=rng.uniform(1.7, 2.6),
            tilt=rng.normal(0, 0.03),
            bend=rng.uniform(-0.006, 0.006),
            left=left,
            right=left + road,
            far_left=left - rng.uniform(2.8, 5),
            far_right=left + road + rng.uniform(2.8, 5),
            dusk=max(0.0, rng.uniform(-1.5, 1)),
        )

    def project(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) metres -> (N, 2) pixels."""
        x, y, z = points[:, 0], points[:, 1], points[:, 2]
        across = self.focal * (x + self.bend * z**2) / z
        return np.stack([self.centre_x + across, self.horizon + self.tilt * across + self.focal * (self.eye - y) / z], 1)

    def scale(self, z: float) -> float:
        """Pixels a metre at distance z."""
        return self.focal / z


def draw_sky(canvas: Canvas, street: Street, rng: RNG) -> None:
    """A gradient with clouds, over the whole picture."""
    height, width = street.size
    grey = rng.uniform(0.5, 0.88)
    high, low = (
        (materials.hsv(rng.uniform(200, 225), rng.uniform(0.3, 0.7), rng.uniform(0.5, 0.9)), materials.hsv(205, 0.12, 0.93)),
        (materials.hsv(215, 0.06, grey), materials.hsv(40, 0.03, min(1, grey + 0.08))),
        (materials.hsv(rng.uniform(220, 270), 0.35, 0.5), materials.hsv(rng.uniform(-10, 45), 0.5, 0.95)),
        (materials.hsv(35, 0.2, 0.7), materials.hsv(45, 0.15, 0.88)),
    )[2 if street.dusk > 0.3 else int(rng.choice(4, p=[0.45, 0.3, 0.1, 0.15]))]
    down = np.clip(np.arange(height, dtype=np.float32) / street.horizon, 0, 1)[:, None, None]
    canvas.image[:] = high + down * (low - high)
    clouds = materials.soft_noise(rng, street.size, height * rng.uniform(0.12, 0.3))
    cover = np.clip((clouds - rng.uniform(0.35, 0.9)) * 1.6, 0, rng.uniform(0.3, 0.8))[..., None]
    canvas.image += cover * (np.float32(rng.uniform(0.75, 1)) - canvas.image)
    canvas.mask[:] = SKY


def draw_ground(canvas: Canvas, street: Street, rng: RNG) -> None:
    """Road with its marks, kerbs, and pavements of slabs: everything below the horizon."""
    height, width = street.size
    x = np.arange(width, dtype=np.float32)[None] - street.centre_x
    drop = np.arange(height, dtype=np.float32)[:, None] - street.horizon - street.tilt * x
    top = max(0, int(street.horizon - abs(street.tilt) * width))
    drop, image = drop[top:], canvas.image[top:]
    z = street.focal * street.eye / np.maximum(drop, 0.5)
    across = x * z / street.focal - street.bend * z**2
    near = np.clip(1.4 - z / 22, 0, 1)  # fine marks fade where they get smaller than a pixel
    road = (across > street.left) & (across < street.right)

    asphalt, slab = materials.stone(rng), materials.stone(rng)
    if rng.random() < 0.3:
        slab = asphalt * rng.uniform(0.85, 1.2)
    grain = rng.random(drop.shape, np.float32) - 0.5
    stains = materials.soft_noise(rng, drop.shape, height / 10) - 0.5
    tone = np.where(road, 1 + rng.uniform(0.25, 0.5) * grain + 0.25 * stains, 1 + 0.1 * grain + 0.2 * stains)
    # Slabs: joints along and across, each slab of its own grey.
    side, length = rng.uniform(0.5, 0.9), rng.uniform(0.5, 1.0)
    row, column = z / length, across / side + 0.5 * (np.floor(z / length) % 2) * rng.integers(2)
    shade = np.sin(np.floor(row) * 12.9898 + np.floor(column) * 78.233) * 43758.5453
    tiles = 1 + near * 0.3 * (shade % 1 - 0.5)
    joint = (row % 1 < 0.09) | (column % 1 < 0.09)
    tiles = tiles * (1 - near * rng.uniform(0.3, 0.5) * joint)
    tone = np.where(road, tone, tone * tiles)
    kerb = (abs(across - street.left + 0.12) < 0.12) | (abs(across - street.right - 0.12) < 0.12)
    tone = np.where(kerb, rng.uniform(1.2, 1.5), tone)
    colour = tone[..., None] * np.where(road[..., None], asphalt, slab)

    middle = (street.left + street.right) / 2
    mark = (abs(across - middle) < 0.11) & ((z + rng.uniform(0, 6)) % 5 < rng.uniform(2, 5.5))
    if rng.random() < 0.6:
        inset = rng.uniform(0.25, 0.6)
        mark |= road & ((abs(across - street.left - inset) < 0.07) | (abs(across - street.right + inset) < 0.07))
    if rng.random() < 0.35:
        start = rng.uniform(5, 14)
        mark |= road & (z > start) & (z < start + 3.5) & (across % 1.0 < 0.5)
    white = materials.hsv(50, rng.choice([0.05, 0.6], p=[0.8, 0.2]), 0.95)
    colour = np.where((mark & road)[..., None], (0.9 + 0.3 * grain[..., None]) * white, colour)

    below = drop > 0.5
    image[below] = colour[below]
    canvas.mask[top:][below] = np.where(road, ROAD, PAVEMENT)[below]
    canvas.depth[top:][below] = np.minimum(z, 3 * FAR)[below]


def draw_sides(canvas: Canvas, street: Street, rng: RNG) -> None:
    """The end of the street, then the lots along both sides from far to near."""
    _draw_end(canvas, street, rng)
    lots = []
    for x, outward in ((street.far_left, -1), (street.far_right, 1)):
        z, fenced = NEAR, rng.uniform(0.3, 0.7)
        while z < FAR:
            end = z + rng.uniform(6, 12)
            lots.append((z, end, x, outward, rng.random() < fenced and z < 15))
            z = end
    for z, end, x, outward, open_lot in sorted(lots, key=lambda lot: -lot[0]):
        if open_lot:
            _draw_garden(canvas, street, rng, x, outward, z, end)
        else:
            _draw_house(canvas, street, rng, x, outward, z, end)


def _wall(canvas: Canvas, street: Street, texture: Array, label: int, start: tuple[float, float], end: tuple[float, float], height: float) -> None:
    """An upright wall between two points (X, Z) of the ground; the texture's left edge is at the start."""
    (x0, z0), (x1, z1) = start, end
    corners = street.project(np.array([(x0, height, z0), (x1, height, z1), (x1, 0, z1), (x0, 0, z0)]))
    canvas.wall(corners, texture, label, (z0, z1))


def _draw_end(canvas: Canvas, street: Street, rng: RNG) -> None:
    """Houses or trees across the far end."""
    x, stop = street.far_left - 25.0, street.far_right + 25
    bend = street.bend * FAR**2
    while x < stop:
        width, height = rng.uniform(6, 14), rng.uniform(6, 14)
        if rng.random() < 0.6:
            texture = materials.facade(rng, width, height, max(street.scale(FAR), 3), 0.4 * street.dusk)
            _wall(canvas, street, texture, BUILDING, (x, FAR), (x + width, FAR), height)
        else:
            _crown(canvas, street, rng, (x + width / 2 - 0 * bend, height * 0.35, FAR), width * 0.6, height * 0.5)
        x += width


def _draw_house(canvas: Canvas, street: Street, rng: RNG, x: float, outward: int, z: float, end: float) -> None:
    """A house with its front on the street and a side wall that shows above lower neighbours."""
    height = rng.uniform(5, 15)
    ppm = np.clip(street.scale(max(z, 4.0)) * 0.8, 4, street.size[0] / 12)
    lit = 0.5 * street.dusk
    texture = materials.facade(rng, end - z, height, ppm, lit)
    side = texture[:, : texture.shape[1] // 2] * rng.uniform(0.55, 0.9)
    _wall(canvas, street, side, BUILDING, (x, z), (x + outward * 8, z), height)
    texture = texture * rng.uniform(0.7, 1.1)
    _wall(canvas, street, texture, BUILDING, (x, z), (x, end), height)


def _draw_garden(canvas: Canvas, street: Street, rng: RNG, x: float, outward: int, z: float, end: float) -> None:
    """Trees behind a fence or a hedge that hides the ground behind it."""
    for at in np.arange(end - 2, max(z, 4), -4):
        size = rng.uniform(2.2, 3.2)
        _crown(canvas, street, rng, (x + outward * rng.uniform(1.5, 4), rng.uniform(2.2, 4), at), size, size * rng.uniform(0.9, 1.3))
    height = rng.uniform(1.1, 1.4) * street.eye
    ppm = np.clip(street.scale(max(z, 4.0)), 4, street.size[0] / 8)
    if rng.random() < 0.75:
        texture = materials.fence(rng, end - z, height, ppm)
        _wall(canvas, street, texture, FENCE, (x, z), (x, end), height)
    else:
        shape = max(4, round(height * ppm)), max(4, round((end - z) * ppm))
        _wall(canvas, street, materials.leaves(rng, shape, materials.foliage(rng), ppm * 0.15), TREE, (x, z), (x, end), height)


def _crown(canvas: Canvas, street: Street, rng: RNG, centre: tuple[float, float, float], width: float, height: float) -> None:
    """The crown of a tree: a heap of discs, lit from above."""
    z = centre[2]
    x, y = street.project(np.array([centre]))[0]
    unit, colour = street.scale(z), materials.foliage(rng)
    angles = rng.uniform(0, 2 * np.pi, 11)
    reach = np.sqrt(rng.uniform(0, 1, 11)) * 0.75
    blobs = [
        ellipse((x + r * np.cos(a) * width * unit, y + r * np.sin(a) * height * unit), rng.uniform(0.3, 0.5) * min(width, height) * unit)
        for a, r in zip(angles, reach, strict=True)
    ]
    blobs.append(ellipse((x, y), 0.7 * width * unit, 0.7 * height * unit))

    def painter(xs: Array, ys: Array) -> Array:
        light = 1.2 - 0.4 * np.clip((ys - y) / (height * unit) + 0.5, 0, 1)
        cell = max(2.0, street.size[0] / 64 * min(1, 8 / z))
        return materials.leaves(rng, (ys.size, xs.size), colour, cell) * light[..., None]

    canvas.paint(blobs, painter, TREE, z)


def draw_tree(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A street tree: trunk and crown."""
    trunk, height = rng.uniform(0.3, 0.5), rng.uniform(2.2, 3.2)
    corners = np.array([(x - trunk / 2, 0, z), (x + trunk / 2, 0, z), (x + trunk / 3, height + 1, z), (x - trunk / 3, height + 1, z)])
    bark = materials.hsv(rng.uniform(15, 40), rng.uniform(0.1, 0.4), rng.uniform(0.2, 0.5))

    def rough(xs: Array, ys: Array) -> Array:
        return bark * (0.6 + 0.8 * materials.soft_noise(rng, (ys.size, xs.size), 2.5))[..., None]

    canvas.paint([street.project(corners)], rough, TREE, z)
    size = rng.uniform(1.3, 2)
    _crown(canvas, street, rng, (x, height + size * 0.9, z), size, size * rng.uniform(0.8, 1.2))
