"""Drawn things as a data set in COCO's format: a folder of images and one JSON file for each part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtseg.data import rle
from rtseg.data.coco_annotation import mask_annotation
from rtseg.scenes.things import THINGS, Thing

CATEGORY_IDS = (1, 3, 7, 18, 44)  # with gaps, as COCO's own


def annotated(things: Sequence[Thing]) -> list[dict[str, Any]]:
    """COCO's annotations of an image, without their numbers and the image's; a crowd has uncompressed run lengths."""
    found = []
    for kind, mask, crowd in things:
        shape = mask_annotation(mask)
        if crowd:
            shape["segmentation"] = rle.encode_list(mask)
        found.append({"category_id": CATEGORY_IDS[kind], **shape, "iscrowd": int(crowd)})
    return found


def write_annotations(
    file: Path, images: Sequence[tuple[str, tuple[int, int]]], annotations: Sequence[list[dict[str, Any]]]
) -> None:
    """Writes the JSON of one part.

    Args:
        images: name and (height, width) of each; it gets its place, from 1 on, as number.
        annotations: of each image, from `annotated`.
    """
    listed = [
        {"id": k, "file_name": name, "height": height, "width": width}
        for k, (name, (height, width)) in enumerate(images, 1)
    ]
    of_all = [{"image_id": k, **one} for k, own in enumerate(annotations, 1) for one in own]
    kinds = zip(CATEGORY_IDS, THINGS, strict=True)
    content = {
        "info": {"description": "drawn by rtseg make-data"},
        "images": listed,
        "annotations": [{"id": k, **one} for k, one in enumerate(of_all, 1)],
        "categories": [{"id": k, "name": name, "supercategory": "thing"} for k, name in kinds],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), encoding="utf-8")
