"""The page of a server: its files, and what it must know of the network."""

import io
from typing import Any

import numpy as np
from PIL import Image

from rtseg.models.model_card import ModelCard
from rtseg.page.network import content_type, describe_network, static_files
from rtseg.serve.app import File
from rtseg.serve.limits import Limits

_INDEX, _EXAMPLE = "index.html", "example.png"


def page_files(example: np.ndarray) -> dict[str, File]:
    """The files of the page by their address, read now.

    Args:
        example: (H, W, 3) uint8 RGB, for visitors to start with.
    """
    files = {f"/{name}": File(file.read_bytes(), content_type(name)) for name, file in static_files().items()}
    files["/"] = files[f"/{_INDEX}"]
    encoded = io.BytesIO()
    Image.fromarray(example).save(encoded, "PNG")
    return {**files, f"/{_EXAMPLE}": File(encoded.getvalue(), "image/png")}


def network_facts(card: ModelCard, limits: Limits) -> dict[str, Any]:
    """What `/network.json` says."""
    return describe_network(
        card, "server", most_bytes=limits.body, most_pixels=limits.pixels, example={"file": _EXAMPLE}
    )
