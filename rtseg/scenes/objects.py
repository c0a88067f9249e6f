"""What stands and moves in a street: cars, pedestrians, bicyclists, lamps and signs.

Each is a few polygons in metres around the point where it touches the ground (x right, y up), which a `Spot`
puts into the picture.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from rtseg.scenes import materials
from rtseg.scenes.canvas import RNG, Array, Canvas, Colour, Painter, capsule, ellipse, rectangle
from rtseg.scenes.materials import any_paint
from rtseg.scenes.street import BICYCLIST, CAR, FENCE, PEDESTRIAN, POLE, SIGN, Street, draw_wall

DARK = (0.07, 0.07, 0.08)
WHITE_LAMP, RED_LAMP = (0.95, 0.93, 0.8), (0.8, 0.08, 0.06)


@dataclass(frozen=True)
class Spot:
    """A place on the ground at (x, z), and how what is drawn there looks.

    Attributes:
        label: its class.
        stretch: its width, negative for mirrored.
        size: of everything.
    """

    canvas: Canvas
    street: Street
    x: float
    z: float
    label: int
    stretch: float = 1.0
    size: float = 1.0

    def pixels(self, shape: np.ndarray, deeper: float = 0.0) -> np.ndarray:
        """A shape in metres -> pixels, moved away from the camera by `deeper` metres."""
        points = np.empty((len(shape), 3))
        points[:, 0] = self.x + self.stretch * self.size * shape[:, 0]
        points[:, 1] = self.size * shape[:, 1]
        points[:, 2] = self.z + deeper
        return self.street.project(points)

    def draw(self, colour: Colour | Painter, *shapes: np.ndarray, opacity: float = 1.0) -> None:
        """Draws the union of shapes in metres."""
        self.canvas.paint([self.pixels(shape) for shape in shapes], colour, self.label, self.z, opacity)

    def shadow(self, width: float) -> None:
        """Darkens the ground around; it stays road or pavement."""
        self.canvas.paint([self.pixels(ellipse((0, 0), width, 0.12 * width))], (0.03, 0.03, 0.05), None, self.z, 0.55)


def _shaded(colour: Array) -> Painter:
    """A colour that darkens downwards."""

    def painter(x: Array, y: Array) -> Array:
        return colour * np.broadcast_to(1.1 - 0.35 * np.linspace(0, 1, y.size)[:, None], (y.size, x.size))[..., None]

    return painter


def _rounded(colour: Array, band: float = 0.0, tint: Array | None = None) -> Painter:
    """The shade of a cylinder, with bands of another tint every `band` pixels."""

    def painter(x: Array, y: Array) -> Array:
        across = np.linspace(-1, 1, x.size)
        pixels = np.tile(colour * (1.15 - 0.55 * across**2 - 0.25 * across)[:, None], (y.size, 1, 1))
        if tint is not None:
            pixels[(y[:, 0] // band) % 2 == 0] *= tint
        return pixels

    return painter


def _either_way(rng: RNG) -> int:
    return int(rng.choice([-1, 1]))


def draw_car(canvas: Canvas, street: Street, rng: RNG, x: float, z: float, kind: int | None = None) -> None:
    """A car from the side (kind 0), the front (1) or behind (2)."""
    kind = int(rng.choice(3, p=[0.35, 0.3, 0.35])) if kind is None else kind
    spot = Spot(canvas, street, x, z, CAR, stretch=_either_way(rng), size=rng.uniform(1.0, 1.2))
    body, glass = any_paint(rng), materials.hsv(210, rng.uniform(0.1, 0.4), rng.uniform(0.08, 0.4))
    if kind == 0:
        _car_side(spot, body, glass, roof=rng.uniform(1.35, 1.65), back=rng.uniform(-1.9, -1.2))
    else:
        _car_end(spot, body, glass, roof=rng.uniform(1.35, 2.0), front=kind == 1)


def _car_side(spot: Spot, body: Array, glass: Array, roof: float, back: float) -> None:
    spot.shadow(2.3)
    spot.draw(_shaded(body), np.array([
        (-2.05, 0.35), (2.0, 0.35), (2.1, 0.7), (1.9, 0.9), (1.05, 1.0),
        (0.45, roof), (back + 0.35, roof), (back, 1.0), (-2.0, 0.95), (-2.1, 0.7),
    ]))  # fmt: skip
    middle, high = back / 2 + 0.35, roof - 0.12
    spot.draw(
        glass,
        np.array([(0.88, 1.02), (0.38, high), (middle + 0.05, high), (middle + 0.05, 1.02)]),
        np.array([(middle - 0.05, 1.02), (middle - 0.05, high), (back + 0.42, high), (back + 0.15, 1.02)]),
    )
    spot.draw(body * 0.55, rectangle(-2.05, 0.3, 2.02, 0.45), rectangle(middle - 0.02, 0.45, middle + 0.02, 1.0))
    spot.draw(WHITE_LAMP, rectangle(1.85, 0.7, 2.06, 0.84))
    spot.draw(RED_LAMP, rectangle(-2.08, 0.7, -1.88, 0.86))
    for hub in (-1.3, 1.3):
        spot.draw(DARK, ellipse((hub, 0.35), 0.37))
        spot.draw((0.6, 0.6, 0.62), ellipse((hub, 0.35), 0.19))


def _car_end(spot: Spot, body: Array, glass: Array, roof: float, front: bool) -> None:
    outline = np.array([
        (-0.88, 0.3), (0.88, 0.3), (0.92, 0.8), (0.86, 0.98), (0.75, 1.0),
        (0.62, roof), (-0.62, roof), (-0.75, 1.0), (-0.86, 0.98), (-0.92, 0.8),
    ])  # fmt: skip
    spot.shadow(1.15)
    length = 3.6
    ends = np.concatenate([spot.pixels(outline), spot.pixels(outline, deeper=length)]).astype(np.float32)
    spot.canvas.paint([cv2.convexHull(ends)[:, 0]], body * 0.6, CAR, spot.z)
    for side in (-1, 1):  # the flank that shows: windows and wheels
        pillar = np.array([(0.8 * side, 1.02), (0.64 * side, roof - 0.1)])
        windows = np.concatenate([spot.pixels(pillar, 0.5), spot.pixels(pillar, length - 0.6)[::-1]])
        spot.canvas.paint([windows], glass, CAR, spot.z)
        wheel = rectangle(0.9 * side, 0, 0.68 * side, 0.6)
        spot.canvas.paint([spot.pixels(wheel, 0.7), spot.pixels(wheel, length - 0.7)], DARK, CAR, spot.z)
    spot.draw(DARK, rectangle(-0.88, 0, -0.62, 0.4), rectangle(0.62, 0, 0.88, 0.4), rectangle(-0.7, 0.16, 0.7, 0.36))
    spot.draw(_shaded(body), outline)
    spot.draw(glass, np.array([(-0.7, 1.03), (0.7, 1.03), (0.54, roof - 0.1), (-0.54, roof - 0.1)]))
    spot.draw(1.5 * glass + 0.1, np.array([(-0.3, 1.03), (0.1, 1.03), (0.25, roof - 0.1), (0.0, roof - 0.1)]))
    spot.draw(WHITE_LAMP if front else RED_LAMP, rectangle(-0.86, 0.68, -0.52, 0.88), rectangle(0.52, 0.68, 0.86, 0.88))
    spot.draw(DARK if front else (0.85, 0.85, 0.8), rectangle(-0.3, 0.52, 0.3, 0.7))
    spot.draw(body * 0.4, rectangle(-0.9, 0.3, 0.9, 0.42))


def _skin(rng: RNG) -> Array:
    return materials.hsv(rng.uniform(15, 30), rng.uniform(0.25, 0.6), rng.uniform(0.35, 0.95))


def draw_pedestrian(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A person on foot, standing or in mid step, in a jacket or a long coat."""
    stretch, size = _either_way(rng) * rng.uniform(1.25, 1.5), rng.uniform(1.0, 1.12)
    spot = Spot(canvas, street, x, z, PEDESTRIAN, stretch, size)
    top, trousers, shoes, skin = any_paint(rng), any_paint(rng), any_paint(rng) * 0.5, _skin(rng)
    hair = materials.hsv(rng.uniform(10, 45), rng.uniform(0.1, 0.6), rng.uniform(0.08, 0.6))
    step, swing = rng.uniform(0.08, 0.22), rng.uniform(0.08, 0.26)
    hem, flare = (0.5, 0.3) if rng.random() < 0.5 else (0.8, 0.21)
    spot.shadow(0.45)
    for foot, light in ((-step, 0.8), (step, 1.0)):
        spot.draw(trousers * light, capsule((0.35 * foot, 0.85), (foot, 0.12), 0.24, 0.18))
        spot.draw(shoes, capsule((foot - 0.02, 0.05), (foot + 0.14, 0.05), 0.12))
    spot.draw(top * 0.72, capsule((-0.2, 1.36), (-swing - 0.12, 0.86), 0.16))
    spot.draw(_shaded(top), np.array([
        (-flare, hem), (flare, hem), (0.2, 1.05), (0.26, 1.36),
        (0.14, 1.47), (-0.14, 1.47), (-0.26, 1.36), (-0.2, 1.05),
    ]))  # fmt: skip
    spot.draw(top * 0.82, capsule((0.2, 1.36), (swing + 0.08, 0.86), 0.16))
    spot.draw(skin, ellipse((-swing - 0.12, 0.82), 0.08), ellipse((swing + 0.08, 0.82), 0.08))
    if rng.random() < 0.4:
        spot.draw(any_paint(rng), rectangle(swing - 0.06, 0.45, swing + 0.24, 0.78))
    spot.draw(skin, capsule((0, 1.42), (0, 1.52), 0.13), ellipse((0.01, 1.62), 0.13, 0.15))
    spot.draw(hair, ellipse((-0.01, 1.66), 0.145, 0.14, 0, 180), ellipse((-0.07, 1.64), 0.08, 0.12))


def draw_bicyclist(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """Bicycle and rider from the side, turned a little."""
    stretch, size = _either_way(rng) * rng.uniform(0.8, 1.1), rng.uniform(1.05, 1.2)
    spot = Spot(canvas, street, x, z, BICYCLIST, stretch, size)
    frame, top, trousers, helmet, skin = any_paint(rng), any_paint(rng), any_paint(rng), any_paint(rng), _skin(rng)
    back, front, pedals = (-0.52, 0.38), (0.52, 0.38), (-0.05, 0.33)
    saddle, fork, bars = (-0.22, 0.95), (0.38, 0.85), (0.42, 1.02)
    foot = pedals[0] + rng.uniform(-0.12, 0.16), pedals[1] + rng.uniform(-0.1, 0.1)
    hip, knee, other_knee, elbow = (-0.2, 1.02), (0.2, 0.72), (0.08, 0.62), (0.34, 1.2)
    lean = rng.uniform(0.08, 0.2)
    shoulder, neck = (lean, 1.5), (lean + 0.1, 1.68)
    spot.shadow(0.9)
    spot.draw(trousers * 0.6, capsule(hip, other_knee, 0.2, 0.16), capsule(other_knee, (-0.1, 0.2), 0.15, 0.11))
    for hub in (back, front):
        spot.draw((0.5, 0.5, 0.5), ellipse(hub, 0.38), opacity=0.4)  # spokes
        spot.draw(DARK, np.concatenate([ellipse(hub, 0.39), ellipse(hub, 0.29)[::-1]]))
    tubes = (back, pedals), (back, saddle), (pedals, saddle), (pedals, fork), (saddle, fork), (front, bars)
    spot.draw(frame, *(capsule(a, b, 0.09) for a, b in tubes))
    spot.draw(DARK, capsule((-0.34, 0.97), (-0.1, 0.97), 0.08), capsule((0.34, 1.04), (0.52, 1.02), 0.07))
    spot.draw(trousers, capsule(hip, knee, 0.24, 0.19), capsule(knee, foot, 0.18, 0.13))
    spot.draw(_shaded(top), capsule(hip, shoulder, 0.34, 0.36))
    spot.draw(top * 0.75, capsule((lean + 0.05, 1.45), elbow, 0.16))
    spot.draw(skin, capsule(elbow, bars, 0.12), capsule(shoulder, neck, 0.14), ellipse((lean + 0.12, 1.72), 0.14, 0.16))
    spot.draw(helmet, ellipse((lean + 0.1, 1.77), 0.18, 0.15, 0, 180))


def draw_fence(
    canvas: Canvas, street: Street, rng: RNG, x: float, z: float, kind: int | None = None, width: float | None = None
) -> None:
    """A piece of fence across the view, as around a building site: boards (kind 0), railings (1) or mesh (2)."""
    half, height = (rng.uniform(2.4, 3.6) if width is None else width) / 2, rng.uniform(1.3, 1.9)
    turn = rng.uniform(-0.25, 0.25) * half
    texture = materials.fence(rng, 2 * half, height, street.scale(z), kind)
    draw_wall(canvas, street, texture, FENCE, (x - half, z - turn), (x + half, z + turn), height)


def _post(canvas: Canvas, street: Street, rng: RNG, x: float, z: float, height: float, width: float) -> Spot:
    """A post, `width` across, with a thicker foot."""
    spot = Spot(canvas, street, x, z, POLE)
    colour = materials.usually(rng, materials.metal, 0.6)
    tint = rng.uniform(0.4, 0.7, 3) if rng.random() < 0.3 else None
    spot.shadow(0.4)
    spot.draw(_rounded(colour, street.scale(z) * 0.5, tint), rectangle(-width / 2, 0, width / 2, height))
    spot.draw(_rounded(0.75 * colour), rectangle(-0.75 * width, 0, 0.75 * width, rng.uniform(0.3, 0.7)))
    return spot


def _thickness(street: Street, z: float, metres: float, share: float) -> float:
    """A post's width: in metres, but at least this share of the picture's height, so that a stride of 8 can see it."""
    return max(metres, share * street.size[0] / street.scale(z))


def draw_lamp(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    """A street lamp, with a globe on top or on an arm over the road; all of it is pole."""
    width, height = _thickness(street, z, rng.uniform(0.22, 0.34), 0.06), rng.uniform(3.2, 6)
    spot = _post(canvas, street, rng, x, z, height, width)
    glow = (1.0, 0.9, 0.6) if street.dusk > 0.2 else (0.8, 0.8, 0.78)
    if height > 4.5:
        inward = 1 if x < (street.left + street.right) / 2 else -1
        spot.draw(materials.metal(rng), capsule((0, height), (1.3 * inward, height + 0.3), width, 0.8 * width))
        spot.draw(glow, ellipse((1.5 * inward, height + 0.25), 0.45, 0.16))
    else:
        spot.draw(glow, ellipse((0, height + 0.2), 1.3 * width))
        spot.draw(materials.metal(rng), ellipse((0, height + 0.2), 1.4 * width, 1.5 * width, 0, 180))


def draw_sign(canvas: Canvas, street: Street, rng: RNG, x: float, z: float, kind: int | None = None) -> None:
    """On a post: a round sign (kind 0), warning triangle (1), arrow (2), direction board (3), traffic light (4)."""
    kind = int(rng.integers(5)) if kind is None else kind
    y, r = rng.uniform(2.1, 2.8), rng.uniform(0.55, 0.75)
    _post(canvas, street, rng, x, z, y, _thickness(street, z, rng.uniform(0.16, 0.24), 0.054))
    spot = Spot(canvas, street, x, z, SIGN)
    face = materials.usually(rng, materials.vivid, 0.7)
    ink = np.full(3, 0.12 if face.mean() > 0.6 else 0.93, np.float32)
    if rng.random() < 0.5:
        face, ink = ink, face
    if kind == 0:
        spot.draw(ink, ellipse((0, y), r))
        spot.draw(face, ellipse((0, y), 0.76 * r))
        spot.draw(ink, rectangle(-0.45 * r, y - 0.1, 0.45 * r, y + 0.1))
    elif kind == 1:
        triangle = np.array([(-1.0, -0.8), (1, -0.8), (0, 1)]) * 1.15 * r
        spot.draw(ink, np.add(triangle, (0, y)))
        spot.draw(face, np.add(0.62 * triangle, (0, y - 0.06)))
        spot.draw(ink, rectangle(-0.06, y - 0.3 * r, 0.06, y + 0.25 * r))
    elif kind == 2:
        arrow = np.array([(-0.12, -0.6), (0.12, -0.6), (0.12, 0.1), (0.42, 0.1), (0, 0.65), (-0.42, 0.1), (-0.12, 0.1)])
        spot.draw(ink, rectangle(-r, y - r, r, y + r))
        spot.draw(face, rectangle(-0.84 * r, y - 0.84 * r, 0.84 * r, y + 0.84 * r))
        spot.draw(ink, np.add(r * arrow, (0, y)))
    elif kind == 3:
        half = rng.uniform(0.9, 1.3)
        spot.draw(ink, rectangle(-half, y - 0.55, half, y + 0.55))
        spot.draw(face, rectangle(-half + 0.08, y - 0.47, half - 0.08, y + 0.47))
        for line in (y - 0.2, y + 0.2):
            words = (np.cumsum(rng.uniform(0.1, 0.35, 8)) - half + 0.1).reshape(4, 2)
            words = np.minimum(words, half - 0.15)
            spot.draw(ink, *(rectangle(start, line - 0.1, stop, line + 0.1) for start, stop in words))
    else:
        spot.draw(DARK, rectangle(-0.3, y - 0.3, 0.3, y + 1.15))
        on = rng.integers(3)
        for place, colour in enumerate(((0.2, 0.9, 0.4), (1.0, 0.75, 0.1), (1.0, 0.15, 0.1))):
            spot.draw(np.array(colour) * (1 if place == on else 0.3), ellipse((0, y - 0.05 + 0.47 * place), 0.19))
