"""Masks as polygons: the outlines of each connected part and of its holes.

Parts are connected over sides and corners. There are two kinds of outlines.

- Through the centres of the outermost pixels that belong to the mask, as OpenCV's contours. `cv2.fillPoly`, which
  draws outlines too, turns the rings of a part back into exactly its pixels.
- Along the edges of these pixels, pixel (0, 0) reaching from 0 to 1, as COCO and most geometry code expect it. Their
  area is exactly the number of pixels.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Ring = list[int]
"""x, y, x, y, ... of one closed outline."""
Part = list[Ring]
"""The outer ring of a connected part, then those of its holes."""


def polygons(mask: np.ndarray, *, edges: bool = False, tolerance: float = 0.0) -> list[Part]:
    """The parts of a mask.

    Args:
        mask: (H, W) bool.
        edges: along the edges of pixels; else through their centres.
        tolerance: how far, in pixels, a simplified outline may lie from the exact one; 0 keeps it exact. Rings that
            would have fewer than three corners are kept.
    """
    if not mask.any():
        return []
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    pixels = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    if edges:  # the contours of pixels of 2 x 2 pass the corners of the original ones
        pixels = pixels.repeat(2, 0).repeat(2, 1)
    method = cv2.CHAIN_APPROX_NONE if edges else cv2.CHAIN_APPROX_SIMPLE
    contours, hierarchy = cv2.findContours(pixels, cv2.RETR_CCOMP, method)
    parts: dict[int, Part] = {}
    holes: list[tuple[int, Ring]] = []
    for number, (contour, (_, _, _, parent)) in enumerate(zip(contours, hierarchy.reshape(-1, 4), strict=True)):
        points = contour.reshape(-1, 2)
        points = _corners((points + 1) // 2) if edges else points
        ring: Ring = (_simplified(points, tolerance) + np.array([left, top])).astype(int).reshape(-1).tolist()
        if parent < 0:
            parts[number] = [ring]
        else:
            holes.append((int(parent), ring))
    for parent, ring in holes:
        parts[parent].append(ring)
    return list(parts.values())


def _corners(points: np.ndarray) -> np.ndarray:
    """Without points that repeat the one before, or lie on a straight line between their neighbours."""
    points = points[np.any(points != np.roll(points, 1, 0), 1)]
    before, behind = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    return points[np.any(np.sign(before) != np.sign(behind), 1)]


def _simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    if tolerance <= 0:
        return points
    fewer = cv2.approxPolyDP(points.astype(np.int32), tolerance, True).reshape(-1, 2)
    return fewer if len(fewer) >= 3 else points


def area(ring: Sequence[int]) -> float:
    """What a ring encloses, in pixels."""
    points = np.asarray(ring, np.float64).reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
