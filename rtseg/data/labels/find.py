"""Which label tool's files a folder holds, found by looking."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtseg.checks import check_one_of
from rtseg.data.labels.source import Asked, Source
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json


@dataclass(frozen=True)
class Format:
    """A label tool's way to write.

    Attributes:
        name: for --format.
        marks: what it is recognised by, for errors.
    """

    name: str
    marks: str

    def is_here(self, path: Path) -> bool:
        return bool(self._reader("is_here")(path))

    def read(self, path: Path, asked: Asked) -> Source:
        """Raises: UserError, see the reader."""
        source: Source = self._reader("read")(path, asked)
        return source

    def _reader(self, function: str) -> Callable[..., Any]:
        reader: Callable[..., Any] = getattr(importlib.import_module(f"rtseg.data.labels.{self.name}"), function)
        return reader


# In the order in which they are looked for: what is most certain first.
FORMATS = {
    one.name: one
    for one in (
        Format("cvat", "labelmap.txt with SegmentationClass"),
        Format("roboflow", "_classes.csv"),
        Format("mapillary", "config.json with {training,validation}/labels"),
        Format("yolo", "data.yaml with names and train"),
        Format("voc", "SegmentationClass"),
        Format("huggingface", "parquet files, or what `datasets` saved"),
        Format("coco", "a .json with images, annotations and categories"),
        Format("labelme", "a .json with shapes for each image"),
    )
}


def find_format(path: Path, name: str | None) -> Format:
    """The format of a file or folder.

    Args:
        name: what the user says that it is; None: what it looks like.

    Raises:
        UserError: there is no such format, or it looks like none.
    """
    if name is not None:
        check_one_of("--format", name, FORMATS)
        return FORMATS[name]
    for one in FORMATS.values():
        if one.is_here(path):
            return one
    raise UserError(f"'{path}' is of no label tool that is read here: {_what(path)}. {_LOOKED_FOR}")


_LOOKED_FOR = "Looked for: " + "; ".join(f"{one.marks} ({one.name})" for one in FORMATS.values())
_OTHERS = {  # a key of a JSON file, or an ending -> what it is, and what to do
    "_via_img_metadata": "a project of the VGG Image Annotator; export it as COCO",
    "data_title": "a file of Label Studio; export it as COCO",
    "segments_info": "COCO's panoptic format; give the file of instances",
    "objects": "polygons of one image in a format of its own (Cityscapes, Supervisely); export it as COCO",
}
_TOOLS_XML = "an XML file, perhaps of CVAT: export it from CVAT as 'Segmentation mask 1.1' or COCO"


def _what(path: Path) -> str:
    """What a file or folder is instead, as far as that can be seen."""
    if path.is_dir():
        files = find_files(path, [""], "**/*")
        if not files:
            return "the folder is empty"
        kinds = sorted({file.suffix.lower() for file in files if file.suffix})
        if ".xml" in kinds:
            return f"it holds {_TOOLS_XML}"
        if jsons := [file for file in files if file.suffix.lower() == ".json"]:
            return f"it holds '{jsons[0].name}', {_json_kind(jsons[0])}"
        return f"it holds {len(files)} files ({', '.join(kinds[:8])})"
    if path.suffix.lower() == ".xml":
        return _TOOLS_XML
    if path.suffix.lower() == ".json":
        return _json_kind(path)
    return f"a '{path.suffix}' file; give a folder, a .zip or a .json"


def _json_kind(file: Path) -> str:
    try:
        content = parse_json(file.read_bytes(), f"'{file}'")
    except UserError as error:
        return str(error)
    if isinstance(content, list):
        labels = any(isinstance(one, dict) and "annotations" in one for one in content[:1])
        return "a file of Label Studio; export it as COCO" if labels else "a list, of no tool that is known here"
    keys = content.keys() if isinstance(content, dict) else ()
    for key, what in _OTHERS.items():
        if key in keys:
            return what
    return f"JSON with the keys {', '.join(map(str, list(keys)[:8])) or 'of nothing'}"
