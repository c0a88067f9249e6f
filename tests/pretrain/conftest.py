"""Tiny data sets in ImageNet's layout, and files that are wrong in every way a downloaded one may be."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

COLORS = {"n01": (200, 60, 60), "n02": (60, 200, 60), "n03": (60, 60, 200)}


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """41 training and 10 validation images of three classes, which their colours tell apart."""
    root = tmp_path_factory.mktemp("imagenet")
    rng = np.random.default_rng(0)
    for split, number in (("train", 41), ("val", 10)):
        for k in range(number):
            name, color = list(COLORS.items())[k % len(COLORS)]
            (root / split / name).mkdir(parents=True, exist_ok=True)
            pixels = np.clip(np.array(color) + rng.integers(-50, 50, (40, 48, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / split / name / f"{name}_{k:02d}.JPEG", "JPEG")
    return root


def make_animals(root: Path) -> Path:
    """Five training and two validation JPEGs of each of cat, dog and owl, of sizes around 40x30."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 5), ("val", 2)):
        for name in ("cat", "dog", "owl"):
            (root / split / name).mkdir(parents=True)
            for k in range(number):
                pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                size = (40 + int(rng.integers(8)), 30 + int(rng.integers(8)))
                Image.fromarray(pixels).resize(size).save(root / split / name / f"{name}.{k}.JPEG", "JPEG")
    return root


@pytest.fixture(scope="session")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_animals`; to be read only."""
    return make_animals(tmp_path_factory.mktemp("animals"))


@pytest.fixture
def own_animals(tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return make_animals(tmp_path / "animals")


@pytest.fixture
def spoilt() -> Callable[[str], bytes]:
    """Bytes of a file that must not be trained on: truncated, empty, text, animated GIF or PNG."""

    def make(kind: str) -> bytes:
        buffer = BytesIO()
        if kind == "empty":
            return b""
        if kind == "text":
            return b"<html>404</html>"
        frames = [Image.effect_noise((32, 24), sigma).convert("RGB") for sigma in (9, 90)]
        if kind == "truncated":
            frames[0].save(buffer, "JPEG")
            return buffer.getvalue()[: len(buffer.getvalue()) // 2]
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        return buffer.getvalue()

    return make
