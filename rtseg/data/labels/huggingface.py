"""Data sets of Hugging Face: parquet files, or what `datasets` saved on disk. Columns are found by what they hold.

pyarrow reads both; `datasets` itself is not needed. An image is a group of `bytes` and `path`, as the feature Image has
it. The mask is the column whose images all have one channel and a lossless container.
"""

import json
import threading
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache, partial
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from rtseg.data.dataset import IGNORE
from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.data.labels.pairs import relabelled
from rtseg.data.labels.source import (
    UNLABELLED,
    Asked,
    BrokenLabelsError,
    Bytes,
    Drawn,
    Labelled,
    Size,
    Source,
    split_of,
    split_within,
)
from rtseg.data.mask_file import stored_numbers
from rtseg.data.walk import find_files
from rtseg.errors import UserError, require
from rtseg.output.json_file import read_json

_SUFFIXES = (".parquet", ".arrow")
_NAMES = "id2label.json"
_NOBODY = ("unlabeled", "unlabelled")
_LOOKED_AT = 16  # rows, to tell masks from images
_MASKS = (
    "mask",
    "label",
    "annotation",
    "segmentation",
    "gt",
)  # in the name of a column, where its content does not say
_LOSSLESS = ("PNG", "TIFF", "BMP")
_ONE_CHANNEL = ("1", "L", "P", "I", "I;16")


class _Rows:
    """The rows of a file; may be read by several threads at once.

    Attributes:
        number: of rows.
        columns: that hold images.
        names: column -> file name of each row, where it has one.
    """

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._load = lru_cache(2)(self._read)  # groups of rows, each of many images
        self._file: Any
        if file.suffix == ".parquet":
            parquet = require("pyarrow.parquet", "parquet")
            self._file = parquet.ParquetFile(file)
            schema = self._file.schema_arrow
            groups = range(self._file.num_row_groups)
            sizes = [self._file.metadata.row_group(k).num_rows for k in groups]
        else:
            arrow = require("pyarrow", "parquet")
            self._file = arrow.ipc.open_stream(arrow.memory_map(str(file))).read_all()
            schema, sizes = self._file.schema, [self._file.num_rows]
        self._ends = np.cumsum(sizes)
        self.number = int(sum(sizes))
        self.columns = _image_columns(schema)

    def _read(self, group: int) -> Any:
        if hasattr(self._file, "read_row_group"):
            return self._file.read_row_group(group, columns=self.columns)
        return self._file

    def cell(self, column: str, row: int) -> dict[str, Any]:
        """`bytes` and `path` of an image; empty where there is none."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        start = int(self._ends[group - 1]) if group else 0
        with self._lock:
            return self._load(group)[column][row - start].as_py() or {}

    def paths(self, column: str) -> list[str | None]:
        """The file name of each row."""
        if hasattr(self._file, "read_row_group"):
            chunks = self._file.read(columns=[f"{column}.path"])[column].to_pylist()
        else:
            chunks = self._file[column].to_pylist() if self.number <= _LOOKED_AT else []
        return [one.get("path") if one else None for one in chunks] or [None] * self.number


class _Place(NamedTuple):
    """A row of a file."""

    rows: _Rows
    row: int


def is_here(path: Path) -> bool:
    """Whether there are parquet files, or what `datasets` saved."""
    return bool(_files(path))


def read(path: Path, asked: Asked) -> Source:
    """Raises: UserError where pyarrow is missing, a file cannot be read, or it is not clear where the masks are."""
    files = [(file, _opened(file)) for file in _files(path)]
    if not files:
        raise UserError(f"'{path}' has no .parquet or .arrow file: give the folder of the data set")
    image, mask = _columns(path, [rows for _, rows in files])
    root = path if path.is_dir() else path.parent
    names, table, notes = _classes(root, [rows for _, rows in files], mask)
    notes.insert(0, f"Images are in column '{image}', masks in '{mask}'.")
    images: list[Labelled] = []
    for file, rows in files:
        split = split_within(file.stem) or split_of(file.parent.name)
        begin = sum(one.split == split for one in images)
        for row, said in enumerate(rows.paths(image)):
            place = _Place(rows, row)
            suffix = PurePosixPath(said or "").suffix.lower()
            if suffix not in IMAGE_SUFFIXES:
                suffix = ".jpg" if _bytes(place, image).startswith(b"\xff\xd8") else ".png"
            name = PurePosixPath(said).stem if said else f"{begin + row:06d}"
            draw = partial(_draw, place, mask, table, name)
            images.append(Labelled(name, Bytes(partial(_bytes, place, image), suffix), draw, split))
    return Source("Hugging Face", names, _numbered(images), notes=notes)


def _files(path: Path) -> list[Path]:
    found = [path] if path.is_file() else find_files(path, _SUFFIXES, "**/*")
    return [file for file in found if file.suffix.lower() in _SUFFIXES and not file.name.startswith("cache-")]


def _opened(file: Path) -> _Rows:
    try:
        return _Rows(file)
    except UserError:
        raise
    except Exception as error:  # pyarrow meets damage with exceptions of many kinds
        raise UserError(f"'{file}' cannot be read ({str(error).splitlines()[0]}): download it again") from None


def _image_columns(schema: Any) -> list[str]:
    """Columns of images: by the features that `datasets` writes beside the data, else by their type."""
    said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = said.get("info", {}).get("features", {})
    known = [name for name, one in features.items() if isinstance(one, dict) and one.get("_type") == "Image"]
    if known:
        return [name for name in known if name in schema.names]
    return [
        one.name for one in schema if hasattr(one.type, "get_field_index") and one.type.get_field_index("bytes") >= 0
    ]


def _columns(path: Path, files: Sequence[_Rows]) -> tuple[str, str]:
    """The columns of images and of masks.

    Raises:
        UserError: there are not two, or neither content nor name tells them apart.
    """
    columns = files[0].columns
    if len(columns) < 2:
        raise UserError(
            f"'{path}' has {len(columns)} columns of images ({', '.join(columns) or 'none'}), and an image and a mask "
            "are two: the masks must be a column of the feature Image"
        )
    masks = [column for column in columns if _are_masks(files[0], column)]
    if len(masks) != 1:
        masks = [column for column in masks or columns if any(word in column.lower() for word in _MASKS)]
    others = [column for column in columns if column not in masks]
    images = others if len(others) < 2 else [column for column in others if column.lower() in ("image", "pixel_values")]
    if len(masks) != 1 or len(images) != 1:
        raise UserError(
            f"'{path}' has the columns {', '.join(columns)}, and it is not clear which has the images and which the "
            "masks: keep two, and call that of the masks 'mask' (select_columns and rename_column of `datasets`)"
        )
    return images[0], masks[0]


def _are_masks(rows: _Rows, column: str) -> bool:
    for row in range(min(rows.number, _LOOKED_AT)):
        try:
            with Image.open(BytesIO(_bytes(_Place(rows, row), column))) as file:
                if file.format not in _LOSSLESS or file.mode not in _ONE_CHANNEL:
                    return False
        except Exception:  # no image, or a damaged one
            return False
    return True


def _bytes(place: _Place, column: str) -> bytes:
    """The file in a cell; a path leads to it where it is not in the data set. Raises: BrokenLabelsError."""
    cell = place.rows.cell(column, place.row)
    if (data := cell.get("bytes")) is not None:
        return bytes(data)
    if cell.get("path") and Path(cell["path"]).is_file():
        return Path(cell["path"]).read_bytes()
    raise BrokenLabelsError(f"cells of column '{column}' without an image", f"row {place.row}")


def _classes(root: Path, files: Sequence[_Rows], mask: str) -> tuple[tuple[str, ...], dict[int, int], list[str]]:
    """Names, number in a mask -> class, and what is said of it.

    Raises:
        UserError: the file of names is no list of numbers and names.
    """
    found = [file for file in find_files(root, [".json"], "**/*") if file.name == _NAMES]
    if found:
        names = _numbers(found[0])
        notes = [f"The names are those of {_NAMES}."]
    else:
        names = {number: f"class {number}" for number in _all_numbers(files, mask) if number != IGNORE}
        notes = [f"There is no {_NAMES}: classes are called by their numbers; change the names in dataset.yaml."]
    kept = [number for number, name in names.items() if name.lower() not in _NOBODY]
    table = dict.fromkeys(names, UNLABELLED) | {number: k for k, number in enumerate(kept)}
    if IGNORE not in table:
        table[IGNORE] = IGNORE
        notes.append("255 in masks is ignored.")
    return tuple(names[number] for number in kept), table, notes


def _numbers(file: Path) -> dict[int, str]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(key.isdigit() and int(key) < 65536 for key in content):
        raise UserError(f'\'{file}\' is not {{number: name}}, such as {{"0": "road"}}: correct it')
    return {int(key): str(name) for key, name in sorted(content.items(), key=lambda item: int(item[0]))}


def _all_numbers(files: Sequence[_Rows], mask: str) -> list[int]:
    """The numbers in all masks that can be read."""
    found: set[int] = set()
    for rows in files:
        for row in range(rows.number):
            try:
                found |= set(np.unique(_pixels(_Place(rows, row), mask, "")).tolist())
            except BrokenLabelsError:
                continue
    return sorted(found)


def _pixels(place: _Place, column: str, name: str) -> np.ndarray:
    """A mask's numbers (H, W); equal red, green and blue are one. Raises: BrokenLabelsError."""
    data = _bytes(place, column)
    try:
        raw = stored_numbers(data)
    except Exception as error:  # decoders meet damage with exceptions of any kind
        raise BrokenLabelsError("masks that cannot be read", f"{name}: {str(error)[:60]}") from None
    if raw.ndim == 3 and (raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all():
        return raw[..., 0]
    return raw


def _draw(place: _Place, column: str, table: dict[int, int], name: str, size: Size) -> Drawn:
    pixels = _pixels(place, column, name)
    return Drawn(relabelled(pixels, table, Path(name), f"{_NAMES} does not have it; add it"), Counter())


def _numbered(images: Sequence[Labelled]) -> list[Labelled]:
    """With numbers in front where file names repeat."""
    names = [(one.split, one.name) for one in images]
    if len(set(names)) == len(names):
        return list(images)
    return [one._replace(name=f"{k:06d}_{one.name}") for k, one in enumerate(images)]
