"""Pictures of one thing, for classification: the parts of a street scene, close up and alone."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from rtseg.scenes import materials
from rtseg.scenes.canvas import RNG, Canvas
from rtseg.scenes.objects import draw_bicyclist, draw_car, draw_fence, draw_lamp, draw_pedestrian, draw_sign
from rtseg.scenes.scene import develop
from rtseg.scenes.street import BUILDING, Street, draw_ground, draw_sides, draw_sky, draw_wall

Draw = Callable[[Canvas, Street, RNG, float, float], None]


@dataclass(frozen=True)
class Subject:
    """What a picture shows: its ImageNet class, its size in metres, and how it is drawn at (X, Z)."""

    wnid: str
    name: str
    height: float
    width: float
    draw: Draw


def _car(kind: int) -> Draw:
    return lambda canvas, street, rng, x, z: draw_car(canvas, street, rng, x, z, kind)


def _sign(*kinds: int) -> Draw:
    return lambda canvas, street, rng, x, z: draw_sign(canvas, street, rng, x, z, int(rng.choice(kinds)))


def _fence(kind: int) -> Draw:
    return lambda canvas, street, rng, x, z: draw_fence(canvas, street, rng, x, z, kind, width=12)


def _palace(canvas: Canvas, street: Street, rng: RNG, x: float, z: float) -> None:
    half, height, turn = rng.uniform(5, 9), rng.uniform(6, 12), rng.uniform(-2.5, 2.5)
    texture = materials.facade(rng, 2 * half, height, street.scale(z), 0.4 * street.dusk)
    draw_wall(canvas, street, texture, BUILDING, (x - half, z - turn), (x + half, z + turn), height)


SUBJECTS = (
    Subject("n04285008", "sports car", 1.6, 4.4, _car(0)),
    Subject("n03770679", "minivan", 2.0, 2.4, _car(2)),
    Subject("n03792782", "mountain bike", 2.0, 2.0, draw_bicyclist),
    Subject("n10148035", "groom", 1.8, 1.0, draw_pedestrian),
    Subject("n06794110", "street sign", 3.2, 2.0, _sign(0, 1, 2, 3)),
    Subject("n06874185", "traffic light", 3.6, 1.0, _sign(4)),
    Subject("n03930313", "picket fence", 2.0, 3.0, _fence(0)),
    Subject("n03000134", "chainlink fence", 2.0, 3.0, _fence(2)),
    Subject("n03976657", "pole", 4.5, 1.5, draw_lamp),
    Subject("n03877845", "palace", 9.0, 10.0, _palace),
)


def draw_subject(rng: RNG, size: tuple[int, int], subject: Subject) -> np.ndarray:
    """Draws one thing in an empty street or an open place.

    Args:
        size: (height, width).

    Returns:
        image (H, W, 3) uint8 RGB.
    """
    height, width = size
    street, canvas = Street.random(rng, size), Canvas(size)
    draw_sky(canvas, street, rng)
    draw_ground(canvas, street, rng)
    if rng.random() < 0.5 and subject.draw is not _palace:
        draw_sides(canvas, street, rng)
    # Near enough to fill the picture, far enough to fit its width and to stand on ground that shows.
    z = street.focal * max(
        subject.height / (rng.uniform(0.6, 0.85) * height),
        subject.width / (0.9 * width),
        street.eye / (0.95 * height - street.horizon),
    )
    subject.draw(canvas, street, rng, street.at_column(rng.uniform(0.35, 0.65) * width, z), z)
    return develop(canvas, street, rng)
