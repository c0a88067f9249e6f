"""Files as Paddle writes them, made here."""

import json
import pickle
from pathlib import Path

import numpy as np

ARRAYS = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.bias": np.array([0.5], np.float32)}


def write(path: Path, content: object, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def shapes(golden: Path, network: str) -> dict[str, list[int]]:
    return json.loads((golden / "state_shapes.json").read_text())[network]["state"]


def fake_params(golden: Path, network: str) -> dict[str, np.ndarray]:
    """Arrays of an official network's names and shapes; every one its own number, so that a swap shows."""
    return {
        key: np.full(shape, index / 8, np.float32) for index, (key, shape) in enumerate(shapes(golden, network).items())
    }


def trunk_params(golden: Path, *, injects: bool = True) -> dict[str, np.ndarray]:
    """Those of the published pre-trained trunk, as far as they are known: of the network, without its heads."""
    params = fake_params(golden, "rtformer_slim_cityscapes")
    left_out = ("seghead", "spp.") if injects else ("seghead", "spp.", "layer5.down.")
    return {key: value for key, value in params.items() if not key.startswith(left_out)}
