"""What stands and moves in a street: cars, pedestrians, bicyclists, lamp posts, signs.

Each is a few polygons in metres around the point where it touches the ground (x right, y up), placed by a `Spot`.
"""

from dataclasses import dataclass

import numpy as np

from rtseg.data.synthetic import materials
from rtseg.data.synthetic.canvas import Array, Canvas, Colour, Painter, capsule, ellipse, rectangle
from rtseg.data.synthetic.street import BICYCLIST, CAR, PEDESTRIAN, POLE, SIGN, Street

RNG = np.random.Generator
DARK = (0.07, 0.07, 0.08)


@dataclass(frozen=True)
class Spot:
    """A place on the ground, and which way round and how large things are drawn there."""

    canvas: Canvas
    street: Street
    x: float
    z: float
    label: int
    mirror: int = 1
    stretch: float = 1.0
    size: float = 1.0

    def pixels(self, shape: np.ndarray, deeper: float = 0.0) -> np.ndarray:
        """A shape in metres -> pixels, moved away from the camera by `deeper` metres."""
        points = np.empty((len(shape), 3))
        points[:, 0] = self.x + self.mirror * self.stretch * self.size * shape[:, 0]
        points[:, 1] = self.size * shape[:, 1]
        points[:, 2] = self.z + deeper
        return self.street.project(points)

    def draw(self, colour: Colour | Painter, *shapes: np.ndarray, opacity: float = 1.0) -> None:
        self.canvas.paint([self.pixels(shape) for shape in shapes], colour, self.label, self.z, opacity)

    def shadow(self, width: float) -> None:
        """The dark patch on the ground."""
        shade = ellipse((0, 0), width, 0.12 * width)
        self.canvas.paint([self.pixels(shade)], (0.03, 0.03, 0.05), None, self.z, 0.55)


def shaded(colour: Array, strength: float = 0.35) -> Painter:
    """A colour that gets darker downwards."""

    def painter(x: Array, y: Array) -> Array:
        down = (y - y[0]) / max(1.0, float(y[-1, 0] - y[0, 0]))
        return colour * (1.1 - strength * down + 0 * x)[..., None]

    return painter


def draw_car(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A car seen from behind, from the front or, when it crosses, from the side."""
    kind = rng.random()
    mirror = int(rng.choice([-1, 1]))
    spot = Spot(canvas, street, x, z, CAR, mirror, size=rng.uniform(1.0, 1.2))
    body, glass = materials.any_paint(rng), materials.hsv(210, rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.4))
    roof = rng.uniform(1.35, 2.0)
    if kind < 0.35:
        _car_side(spot, rng, body, glass, min(roof, 1.7))
    else:
        _car_end(spot, rng, body, glass, roof, front=kind > 0.7)


def _car_end(spot: Spot, rng: RNG, body: Array, glass: Array, roof: float, front: bool) -> None:
    cabin = 0.88 * 0.9
    outline = np.array([
        (-0.88, 0.3), (0.88, 0.3), (0.92, 0.8), (0.86, 0.98), (cabin * 0.95, 1.0), (0.62, roof), (-0.62, roof), (-cabin * 0.95, 1.0), (-0.86, 0.98), (-0.92, 0.8),
    ])  # fmt: skip
    spot.shadow(1.15)
    length = 3.6 / spot.size
    near, far = spot.pixels(outline), spot.pixels(outline, deeper=length)
    import cv2

    hull = cv2.convexHull(np.concatenate([near, far]).astype(np.float32))[:, 0]
    spot.canvas.paint([hull], body * 0.6, CAR, spot.z + 0.5)
    for side in (-1, 1):  # the flank that shows: windows and a far wheel
        window = np.array([(side * 0.8, 1.02), (side * 0.64, roof - 0.1)])
        a, b = spot.pixels(window, 0.5), spot.pixels(window, length - 0.6)
        spot.canvas.paint([np.stack([a[0], a[1], b[1], b[0]])], glass, CAR, spot.z + 0.5)
        for at in (0.7, length - 0.7):
            wheel = spot.pixels(rectangle(side * 0.9, 0, side * 0.68, 0.6), at)
            spot.canvas.paint([wheel], DARK, CAR, spot.z + 0.5)
    spot.draw(DARK, rectangle(-0.88, 0, -0.62, 0.4), rectangle(0.62, 0, 0.88, 0.4), rectangle(-0.7, 0.16, 0.7, 0.36))
    spot.draw(shaded(body), outline)
    spot.draw(glass, np.array([(-0.7, 1.03), (0.7, 1.03), (0.54, roof - 0.1), (-0.54, roof - 0.1)]))
    spot.draw(glass * 1.5 + 0.1, np.array([(-0.3, 1.03), (0.1, 1.03), (0.25, roof - 0.1), (0.0, roof - 0.1)]))
    lamp = (0.95, 0.93, 0.8) if front else (0.8, 0.08, 0.06)
    spot.draw(lamp, rectangle(-0.86, 0.68, -0.52, 0.88), rectangle(0.52, 0.68, 0.86, 0.88))
    spot.draw((0.85, 0.85, 0.8) if not front else DARK, rectangle(-0.3, 0.52, 0.3, 0.7))
    spot.draw(body * 0.4, rectangle(-0.9, 0.3, 0.9, 0.42))


def _car_side(spot: Spot, rng: RNG, body: Array, glass: Array, roof: float) -> None:
    back = rng.uniform(-1.9, -1.2)
    outline = np.array([
        (-2.05, 0.35), (2.0, 0.35), (2.1, 0.7), (1.9, 0.9), (1.05, 1.0), (0.45, roof), (back + 0.35, roof), (back, 1.0), (-2.0, 0.95), (-2.1, 0.7),
    ])  # fmt: skip
    spot.shadow(2.3)
    spot.draw(shaded(body), outline)
    middle = (back + 0.7) / 2
    high = roof - 0.12
    spot.draw(glass, np.array([(0.88, 1.02), (0.38, high), (middle + 0.05, high), (middle + 0.05, 1.02)]))
    spot.draw(glass, np.array([(middle - 0.05, 1.02), (middle - 0.05, high), (back + 0.42, high), (back + 0.15, 1.02)]))
    spot.draw(body * 0.55, rectangle(-2.05, 0.3, 2.02, 0.45), rectangle(middle - 0.02, 0.45, middle + 0.02, 1.0))
    spot.draw((0.95, 0.93, 0.8), rectangle(1.85, 0.7, 2.06, 0.84))
    spot.draw((0.8, 0.08, 0.06), rectangle(-2.08, 0.7, -1.88, 0.86))
    for hub in (-1.3, 1.3):
        spot.draw(DARK, ellipse((hub, 0.35), 0.37))
        spot.draw((0.6, 0.6, 0.62), ellipse((hub, 0.35), 0.19))


def draw_pedestrian(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A person on foot: standing or in mid step, in a jacket or a long coat."""
    spot = Spot(canvas, street, x, z, PEDESTRIAN, int(rng.choice([-1, 1])), stretch=rng.uniform(1.15, 1.4), size=rng.uniform(0.95, 1.12))
    top, trousers, shoes = (materials.any_paint(rng) for _ in range(3))
    skin = materials.hsv(rng.uniform(15, 30), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.95))
    step, swing = rng.uniform(0.08, 0.3), rng.uniform(0.1, 0.32)
    spot.shadow(0.45)
    for foot in (-step, step):
        spot.draw(trousers * (0.8 if foot < 0 else 1), capsule((foot * 0.35, 0.85), (foot, 0.12), 0.24, 0.17))
        spot.draw(shoes * 0.5, capsule((foot - 0.02, 0.05), (foot + 0.14, 0.05), 0.11))
    hem, flare = (0.5, 0.3) if rng.random() < 0.4 else (0.8, 0.21)
    spot.draw(top * 0.72, capsule((-0.2, 1.36), (-swing - 0.12, 0.86), 0.15))
    spot.draw(skin, ellipse((-swing - 0.12, 0.82), 0.07))
    spot.draw(shaded(top), np.array([(-flare, hem), (flare, hem), (0.2, 1.05), (0.26, 1.36), (0.14, 1.47), (-0.14, 1.47), (-0.26, 1.36), (-0.2, 1.05)]))
    spot.draw(top * 0.82, capsule((0.2, 1.36), (swing + 0.08, 0.86), 0.15))
    spot.draw(skin, ellipse((swing + 0.08, 0.82), 0.07), capsule((0, 1.42), (0, 1.52), 0.12), ellipse((0.01, 1.62), 0.125, 0.15))
    if rng.random() < 0.4:
        spot.draw(materials.any_paint(rng), rectangle(swing - 0.06, 0.45, swing + 0.24, 0.78))
    hair = materials.hsv(rng.uniform(10, 45), rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.6))
    spot.draw(hair, ellipse((-0.01, 1.66), 0.14, 0.14, 0, 180), ellipse((-0.07, 1.64), 0.08, 0.12))


def draw_bicyclist(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """Bicycle and rider from the side, turned a little."""
    spot = Spot(canvas, street, x, z, BICYCLIST, int(rng.choice([-1, 1])), stretch=rng.uniform(0.75, 1.1), size=rng.uniform(1.05, 1.2))
    frame, top, trousers, helmet = (materials.any_paint(rng) for _ in range(4))
    skin = materials.hsv(rng.uniform(15, 30), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.95))
    back, front, pedals, saddle, bars = (-0.52, 0.37), (0.52, 0.37), (-0.05, 0.33), (-0.22, 0.95), (0.42, 1.02)
    pedal = (pedals[0] + rng.uniform(-0.12, 0.16), pedals[1] + rng.uniform(-0.1, 0.1))
    knee = (0.2, 0.72)
    hip, shoulder = (-0.2, 1.02), (rng.uniform(0.08, 0.2), 1.5)
    spot.shadow(0.9)
    spot.draw(trousers * 0.6, capsule(hip, (0.08, 0.62), 0.2, 0.16), capsule((0.08, 0.62), (-0.1, 0.2), 0.15, 0.11))
    for hub in (back, front):
        spot.draw((0.5, 0.5, 0.5), ellipse(hub, 0.38), opacity=0.3)
        rim = np.concatenate([ellipse(hub, 0.38), ellipse(hub, 0.29)[::-1]])
        spot.draw(DARK, rim)
    for a, b in ((back, pedals), (back, saddle), (pedals, saddle), (pedals, (0.38, 0.85)), (saddle, (0.38, 0.85)), (front, bars)):
        spot.draw(frame, capsule(a, b, 0.08))
    spot.draw(DARK, capsule((-0.34, 0.97), (-0.1, 0.97), 0.08), capsule((0.34, 1.04), (0.52, 1.02), 0.07))
    spot.draw(trousers, capsule(hip, knee, 0.23, 0.18), capsule(knee, pedal, 0.17, 0.12))
    spot.draw(shaded(top), capsule(hip, shoulder, 0.34, 0.36))
    spot.draw(top * 0.75, capsule((shoulder[0] + 0.05, shoulder[1] - 0.05), (0.34, 1.2), 0.15))
    spot.draw(skin, capsule((0.34, 1.2), bars, 0.11, 0.1), capsule(shoulder, (shoulder[0] + 0.1, 1.68), 0.14), ellipse((shoulder[0] + 0.12, 1.72), 0.13, 0.15))
    spot.draw(helmet, ellipse((shoulder[0] + 0.1, 1.77), 0.17, 0.14, 0, 180))


def _round(colour: Array, bands: Array | None, height: float) -> Painter:
    """The shade of a cylinder, with coloured bands."""

    def painter(x: Array, y: Array) -> Array:
        across = (x - x.mean()) / max(1.0, x.size / 2)
        pixels = colour * (1.15 - 0.55 * across**2 - 0.25 * across + 0 * y)[..., None]
        if bands is not None:
            pixels[(y[:, 0] // height) % 2 == 0] *= bands
        return pixels

    return painter


def _post(spot: Spot, rng: RNG, height: float, width: float) -> None:
    colour = materials.any_paint(rng)
    bands = rng.uniform(0.4, 0.7, 3).astype(np.float32) if rng.random() < 0.3 else None
    spot.shadow(0.4)
    spot.draw(_round(colour, bands, spot.street.scale(spot.z) * 0.5), rectangle(-width / 2, 0, width / 2, height))
    spot.draw(_round(colour * 0.75, None, 1), rectangle(-0.75 * width, 0, 0.75 * width, rng.uniform(0.3, 0.7)))


def draw_lamp(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A street lamp: post, arm and head are all pole."""
    spot = Spot(canvas, street, x, z, POLE, -1 if x > (street.left + street.right) / 2 else 1)
    width = max(rng.uniform(0.22, 0.34), 10 / 192 * street.size[0] / street.scale(z))
    height = rng.uniform(3.2, 6)
    _post(spot, rng, height, width)
    metal = materials.any_paint(rng) * 0.8
    glow = (1, 0.9, 0.6) if street.dusk > 0.2 else (0.8, 0.8, 0.78)
    if height > 4.5:
        spot.draw(metal, capsule((0, height), (1.3, height + 0.3), width, width * 0.8))
        spot.draw(glow, ellipse((1.5, height + 0.25), 0.45, 0.16))
    else:
        spot.draw(glow, ellipse((0, height + 0.2), width * 1.3))
        spot.draw(metal, ellipse((0, height + 0.2), width * 1.4, width * 1.5, 0, 180))


def draw_sign(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A traffic sign, a direction board or a traffic light on its post."""
    post = Spot(canvas, street, x, z, POLE)
    width = max(rng.uniform(0.16, 0.24), 9 / 192 * street.size[0] / street.scale(z))
    height = rng.uniform(2.0, 2.8)
    _post(post, rng, height, width)
    spot = Spot(canvas, street, x, z, SIGN, size=1.0)
    radius = rng.uniform(0.55, 0.75)
    y, kind = height + 0.1, rng.integers(5)
    face, ink = materials.any_paint(rng), materials.any_paint(rng)
    if abs(float(face.mean() - ink.mean())) < 0.25:
        ink = np.where(face.mean() > 0.5, 0.1, 0.95) * np.ones(3, np.float32)
    if kind == 0:  # round, with a bar
        spot.draw(ink, ellipse((0, y), radius))
        spot.draw(face, ellipse((0, y), radius * 0.76))
        spot.draw(ink, rectangle(-radius * 0.45, y - 0.1, radius * 0.45, y + 0.1))
    elif kind == 1:  # warning triangle
        triangle = np.array([(-1, -0.8), (1, -0.8), (0, 1)]) * radius * 1.15
        spot.draw(ink, triangle + (0, y))
        spot.draw(face, triangle * 0.62 + (0, y - 0.06))
        spot.draw(ink, rectangle(-0.06, y - 0.3 * radius, 0.06, y + 0.25 * radius))
    elif kind == 2:  # square with an arrow
        spot.draw(ink, rectangle(-radius, y - radius, radius, y + radius))
        spot.draw(face, rectangle(-radius * 0.84, y - radius * 0.84, radius * 0.84, y + radius * 0.84))
        arrow = np.array([(-0.12, -0.6), (0.12, -0.6), (0.12, 0.1), (0.42, 0.1), (0, 0.65), (-0.42, 0.1), (-0.12, 0.1)]) * radius
        spot.draw(ink, arrow + (0, y))
    elif kind == 3:  # direction board
        half = rng.uniform(0.9, 1.4)
        spot.draw(ink, rectangle(-half, y - 0.5, half, y + 0.5))
        spot.draw(face, rectangle(-half + 0.08, y - 0.42, half - 0.08, y + 0.42))
        for row in (-0.18, 0.18):
            words = np.cumsum(rng.uniform(0.1, 0.35, 12)) - half + 0.1
            for a, b in zip(words[::2], words[1::2], strict=True):
                if b < half - 0.2:
                    spot.draw(ink, rectangle(a, y + row - 0.09, b, y + row + 0.09))
    else:  # traffic light
        spot.draw(DARK, rectangle(-0.26, y - 0.3, 0.26, y + 1.0))
        on = rng.integers(3)
        for k, colour in enumerate(((0.2, 0.9, 0.4), (1.0, 0.75, 0.1), (1.0, 0.15, 0.1))):
            spot.draw(np.array(colour) * (1 if k == on else 0.3), ellipse((0, y - 0.08 + 0.42 * k), 0.17))
