"""Drawn folders whose images are not RGB: four channels of 8 bits as TIFF, one of 16 bits as PNG."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIZE = (64, 80)
MEAN, STD = {4: (0.4, 0.4, 0.4, 0.5), 1: (0.05,)}, {4: (0.2, 0.2, 0.2, 0.3), 1: (0.03,)}


def write_folder(root: Path, channels: int, train: int = 4, val: int = 2) -> Path:
    """A folder of data set `folder`; only the last channel tells the two classes apart. Returns its YAML.

    Args:
        channels: 4 (TIFF of 8 bits) or 1 (PNG of 16 bits, of which 12 are used).
    """
    random = np.random.default_rng(0)
    for split, number in (("train", train), ("val", val)):
        for folder in ("images", "masks"):
            (root / folder / split).mkdir(parents=True)
        for k in range(number):
            mask = np.zeros(SIZE, np.uint8)
            top, left = random.integers(0, 32, 2)
            mask[top : top + 30, left : left + 40] = 1
            Image.fromarray(mask).save(root / "masks" / split / f"{k}.png")
            noise = random.integers(0, 60, (*SIZE, channels))
            noise[..., -1] += 140 * mask
            if channels == 4:
                pixels = (noise + 40).astype(np.uint8)
                tifffile.imwrite(root / "images" / split / f"{k}.tif", pixels, photometric="rgb", metadata=None)
            else:
                Image.fromarray((16 * noise[..., 0]).astype(np.uint16)).save(root / "images" / split / f"{k}.png")
    splits = "\n".join(f"{split}: {{images: images/{split}, masks: masks/{split}}}" for split in ("train", "val"))
    space = f"channels: {channels}\nmean: {list(MEAN[channels])}\nstd: {list(STD[channels])}\n"
    (root / "dataset.yaml").write_text(f"classes: [ground, thing]\n{splits}\n{space}")
    return root / "dataset.yaml"
