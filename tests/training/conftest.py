"""A tiny CamVid folder and a tiny network, so that whole trainings take seconds."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny_camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten training and three validation images of 40x56 in CamVid's layout; the class follows the brightness."""
    root = tmp_path_factory.mktemp("camvid")
    rng = np.random.default_rng(0)
    for split, number in (("train", 10), ("val", 3), ("test", 2)):
        (root / split).mkdir()
        (root / f"{split}annot").mkdir()
        for k in range(number):
            mask = cv2.resize(rng.integers(0, 12, (2, 3), dtype=np.uint8), (56, 40), interpolation=cv2.INTER_NEAREST)
            image = np.repeat((mask * 20)[..., None], 3, -1) + rng.integers(0, 8, (40, 56, 3), dtype=np.uint8)
            cv2.imwrite(str(root / split / f"{k:03d}.png"), image)
            cv2.imwrite(str(root / f"{split}annot" / f"{k:03d}.png"), mask)
    return root


@pytest.fixture
def tiny_model() -> dict[str, Any]:
    """Arguments of SegmentationModule for a network of 8 channels."""
    return {
        "name": "rtformer_slim",
        "attention": "gfa+ca",
        "options": {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2},
    }
