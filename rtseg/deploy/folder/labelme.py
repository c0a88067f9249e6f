"""The class maps of a folder of results as LabelMe's JSON, one file an image: `rtseg predict --labels labelme`.

Each connected part of a class is a polygon along the edges of its pixels. LabelMe's polygons have no holes: the outline
goes from its nearest corner to the hole, round it, and back on the same line, which encloses nothing.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.polygons import Part, Ring, polygons
from rtseg.deploy.folder.class_maps import ClassMaps
from rtseg.deploy.prediction import count_classes
from rtseg.output.folders import make_folder, write_whole

_VERSION = "5.5.0"  # of LabelMe, whose files these are like


def write_labelme(out: Path, folder: Path, images: Mapping[str, Path]) -> int:
    """Writes the results in a folder of `rtseg predict`.

    Args:
        out: folder for the files; each has the name of its result.
        folder: with the record of the results.
        images: name of a result -> its image. Results of other images are left out.

    Returns:
        The number of images.

    Raises:
        UserError: there are no results; a class map cannot be read, or is not of these classes; the disk refuses.
    """
    results = ClassMaps(folder, str(out))
    number = 0
    for result in results:
        if result.name not in images:
            continue
        file = out / f"{result.name}.json"
        height, width = result.classes.shape
        content = {
            "version": _VERSION,
            "flags": {},
            "shapes": list(shapes(result.classes, results.names)),
            "imagePath": Path(os.path.relpath(images[result.name], file.parent)).as_posix(),
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        make_folder(file.parent)
        write_whole(file, json.dumps(content))
        number += 1
    return number


def shapes(class_map: np.ndarray, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """LabelMe's shapes of an image.

    Args:
        class_map: (H, W) class numbers.
        names: of the classes.
    """
    for k in np.flatnonzero(count_classes(class_map, len(names))).tolist():
        for part in polygons(class_map == k, edges=True):
            ring = one_ring(part)
            points = [ring[place : place + 2] for place in range(0, len(ring), 2)]
            yield {"label": names[k], "points": points, "group_id": None, "shape_type": "polygon", "flags": {}}


def one_ring(part: Part) -> Ring:
    """A part with holes as one ring, which goes to each hole and back on the same line."""
    outer = np.array(part[0]).reshape(-1, 2)
    detours: dict[int, list[int]] = defaultdict(list)
    for hole in part[1:]:
        points = np.array(hole).reshape(-1, 2)
        distances = ((outer[:, None] - points[None]) ** 2).sum(2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.roll(points, -there, 0)
        detours[int(here)] += [*around.ravel().tolist(), *around[0].tolist(), *outer[here].tolist()]
    return [number for place, point in enumerate(outer.tolist()) for number in (*point, *detours[place])]
