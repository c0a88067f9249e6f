"""A tiny ImageNet, and files that are wrong in every way a downloaded one may be."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLASSES = ("cat", "dog", "owl")
TRAIN, VAL = 5, 2  # images of a class


def make_imagenet(root: Path) -> Path:
    """15 training and 6 validation JPEGs, of sizes around 40x30."""
    rng = np.random.default_rng(0)
    for split, number in (("train", TRAIN), ("val", VAL)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for k in range(number):
                pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
                size = (40 + int(rng.integers(8)), 30 + int(rng.integers(8)))
                Image.fromarray(pixels).resize(size).save(root / split / name / f"{name}.{k}.JPEG", "JPEG")
    return root


@pytest.fixture(scope="session")
def tiny_imagenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `make_imagenet`; to be read only."""
    return make_imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def own_imagenet(tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    return make_imagenet(tmp_path / "imagenet")


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
