"""A small folder of images and masks without a fault, in which tests plant faults."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import yaml

SIZE = (48, 64)
CLASSES = ["road", "car", "tree"]


def image(k: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W, 3) uint8: patches of a colour that no other `k` has."""
    patches = np.random.default_rng(k).integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(patches, size[::-1], interpolation=cv2.INTER_CUBIC)


def mask(k: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """(H, W) uint8: the three classes, and a band of 255."""
    drawn = np.zeros(size, np.uint8)
    drawn[8:30, 6 + k : 30 + k] = 1
    drawn[20:44, 34:60] = 2
    drawn[:3] = 255
    return drawn


class Planted:
    """A data set of the layout `folder` with 6 + 4 pairs.

    Attributes:
        root: its folder; the YAML is `dataset.yaml` in it.
        yaml: what the YAML says; `write` writes it.
    """

    def __init__(self, root: Path, draw: Callable[[int], np.ndarray] = mask) -> None:
        self.root = root
        self.yaml: dict = {
            "classes": CLASSES,
            **{split: {"images": f"images/{split}", "masks": f"masks/{split}"} for split in ("train", "val")},
        }
        for split, first, number in (("train", 0, 6), ("val", 6, 4)):
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True)
            for k in range(first, first + number):
                cv2.imwrite(str(self.image(k)), image(k))
                cv2.imwrite(str(self.mask(k)), draw(k))
        self.write()

    def write(self) -> None:
        """Writes the YAML."""
        (self.root / "dataset.yaml").write_text(yaml.safe_dump(self.yaml))

    def image(self, k: int) -> Path:
        """The image file of a pair; 0 to 5 are of train, 6 to 9 of val."""
        return self.root / "images" / ("train" if k < 6 else "val") / f"{k}.png"

    def mask(self, k: int) -> Path:
        """The label file of a pair."""
        return self.root / "masks" / ("train" if k < 6 else "val") / f"{k}.png"

    def masks(self, change: Callable[[np.ndarray], np.ndarray], pairs: range = range(10)) -> None:
        """Changes label files."""
        for k in pairs:
            drawn = np.asarray(cv2.imread(str(self.mask(k)), cv2.IMREAD_UNCHANGED))
            cv2.imwrite(str(self.mask(k)), change(drawn))
