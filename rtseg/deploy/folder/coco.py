"""The class maps of a folder of results as one file in COCO's format: `rtseg predict --polygons FILE`, `--labels coco`.

One annotation holds all pixels of a class in an image. It has polygons along the edges of its pixels; where the class
has holes, which polygons of COCO cannot have, it has run lengths instead.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtseg.data.coco_annotation import mask_annotation
from rtseg.deploy.folder.class_maps import ClassMaps
from rtseg.deploy.prediction import count_classes
from rtseg.output.folders import make_folder, written_whole
from rtseg.version import VERSION


def write_coco(file: Path, folder: Path) -> int:
    """Writes all results in a folder of `rtseg predict`, one image at a time.

    Args:
        file: a .json; an older one is replaced when the new one is whole.
        folder: with the record of the results.

    Returns:
        The number of images.

    Raises:
        UserError: there are no results; a class map cannot be read, or is not of these classes; the disk refuses.
    """
    results = ClassMaps(folder, str(file))
    images: list[dict[str, Any]] = []
    make_folder(file.parent)
    with written_whole(file) as aside, aside.open("w") as out:
        out.write(f'{{"info": {json.dumps({"description": f"rtseg {VERSION}", "version": "1.0"})},\n')
        out.write(f'"categories": {json.dumps(categories(results.names))},\n"annotations": [')
        number = 0
        for result in results:
            height, width = result.classes.shape
            images.append({"id": len(images) + 1, "file_name": str(result.image), "height": height, "width": width})
            for annotation in annotations(result.classes):
                number += 1
                begin = ",\n" if number > 1 else "\n"
                out.write(begin + json.dumps({"id": number, "image_id": len(images), **annotation}))
        out.write(f'],\n"images": {json.dumps(images)}}}\n')
    return len(images)


def categories(names: Sequence[str]) -> list[dict[str, Any]]:
    """COCO's categories. Class k has the id k + 1, since many readers take 0 for what is no category."""
    return [{"id": k + 1, "name": name, "supercategory": ""} for k, name in enumerate(names)]


def annotations(class_map: np.ndarray) -> Iterator[Mapping[str, Any]]:
    """COCO's annotation of each class that is there, without its id and the image's.

    Args:
        class_map: (H, W) class numbers.
    """
    for k in np.flatnonzero(count_classes(class_map, int(class_map.max()) + 1)).tolist():
        yield {"category_id": k + 1, **mask_annotation(class_map == k), "iscrowd": 0}
