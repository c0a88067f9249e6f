"""What the page knows of its network, `network.json`, and the page's own files. `rtseg serve` gives out the same."""

from pathlib import Path
from typing import Any, Literal

import numpy as np

from rtseg.data.dataset import default_palette
from rtseg.data.header import IMAGE_SUFFIXES
from rtseg.deploy.drawing.overlay_colors import distinct_colors
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.paths import FILM_SUFFIXES
from rtseg.scenes.scene import draw_scene

STATIC = Path(__file__).parent / "static"
NETWORK = "network.json"
FORMAT = 1
USUAL_SIZE = 512, 512  # where the card does not say which size the network was trained at
_MOST_DRAWN = 2**19  # pixels
MOST_PIXELS = 2**26  # of an image that the page opens
_TYPES = {
    ".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".json": "application/json",
    ".svg": "image/svg+xml",
}  # fmt: skip


def static_files() -> dict[str, Path]:
    """The page's own files by their names, all in one folder beside `network.json`; `index.html` is the page."""
    return {file.name: file for file in sorted(STATIC.iterdir()) if file.suffix in _TYPES}


def content_type(name: str) -> str:
    """The type of a file of the page, for a server to state: a browser runs no module that is text/plain."""
    return f"{_TYPES[Path(name).suffix]}; charset=utf-8"


def drawn_example(card: ModelCard, size: tuple[int, int] | None) -> np.ndarray:
    """A drawn street for visitors to start with, (h, w, 3) uint8 RGB; the same for a page and a server of a network.

    Args:
        size: (H, W) that the network takes alone; None for the size that it was trained at. Both sides are halved
            until the street is small enough to be loaded and segmented in a browser.
    """
    height, width = size or card.input_size or USUAL_SIZE
    while height * width > _MOST_DRAWN:
        height, width = max(1, height // 2), max(1, width // 2)
    return draw_scene(np.random.default_rng(0), (height, width))[0]


def check_given(source: str) -> None:
    """Raises: UserError where an image or a film stands in the network's place: pages take them once they are open."""
    suffix = Path(source).suffix.lower()
    if suffix in FILM_SUFFIXES or suffix in IMAGE_SUFFIXES:
        kind = "a film" if suffix in FILM_SUFFIXES else "an image"
        raise UserError(
            f"'{source}' is {kind} and no network: give the network alone, such as best.ckpt; the page takes images "
            "and films once it is open"
        )


def describe_network(
    card: ModelCard,
    engine: Literal["browser", "server"],
    *,
    most_bytes: int | None = None,
    most_pixels: int = MOST_PIXELS,
    **more: Any,
) -> dict[str, Any]:
    """What `network.json` holds, plain JSON.

    Args:
        engine: what runs the network: onnxruntime-web in the visitor's browser, or the server that gives out the page.
        most_bytes: of an image file that the page sends to the server; None where nothing is sent.
        most_pixels: of an image; the page says no to larger ones.
        more: further keys, which the page needs where the browser runs the network.
    """
    number = card.num_classes
    names = card.class_names or tuple(f"class {k}" for k in range(number))
    ids = card.ids or tuple(range(number))
    colors = distinct_colors(card.palette or default_palette(number))
    return {
        "format": FORMAT,
        "model": card.model,
        "attention": card.attention,
        "dataset": card.dataset,
        "engine": engine,
        "classes": [
            {"id": id, "name": name, "color": list(color)} for id, name, color in zip(ids, names, colors, strict=True)
        ],
        "limits": {"bytes": most_bytes, "pixels": most_pixels},
        **more,
    }
