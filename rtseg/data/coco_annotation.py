"""A mask as COCO's files describe it."""

from typing import Any

import cv2
import numpy as np

from rtseg.data import rle
from rtseg.data.polygons import polygons


def mask_annotation(mask: np.ndarray) -> dict[str, Any]:
    """The shape of an annotation: all of it but category, image, number and whether it is a crowd.

    It has polygons along the edges of its pixels; where the mask has holes, which polygons of COCO cannot have, it has
    run lengths instead. `area` is the number of pixels. `bbox` is [left, top, width, height] of the pixels.

    Args:
        mask: (H, W) bool.
    """
    parts = polygons(mask, edges=True)
    plain = all(len(part) == 1 for part in parts)
    return {
        "segmentation": [part[0] for part in parts] if plain else rle.encode(mask),
        "area": int(mask.sum()),
        "bbox": list(cv2.boundingRect(mask.astype(np.uint8))),
    }
