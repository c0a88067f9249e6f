"""Data sets of Hugging Face, as `datasets` 5.2.0 writes their parquet and arrow files."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rtseg.errors import UserError
from tests.helpers.labels import Convert, masks

arrow = pytest.importorskip("pyarrow")
LABELS = np.arange(48, dtype=np.uint8).reshape(6, 8) % 3
CELL = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])


def cell(pixels: np.ndarray, path: str | None = None, container: str = "PNG") -> dict[str, Any]:
    data = BytesIO()
    Image.fromarray(pixels).save(data, container)
    return {"bytes": data.getvalue(), "path": path}


def photo(path: str | None = None) -> dict[str, Any]:
    return cell(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), path, "JPEG")


def write(file: Path, features: bool = True, **columns: Sequence[Any]) -> Path:
    """A parquet or arrow file; with `features`, what the columns are stands beside the data, as `datasets` has it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: arrow.array(cells, CELL if isinstance(cells[0], dict) else None) for name, cells in columns.items()}
    table = arrow.table(arrays)
    if features:
        said = {name: {"_type": "Image" if isinstance(cells[0], dict) else "Value"} for name, cells in columns.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": said}})})
    if file.suffix == ".parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, file, row_group_size=2)
    else:
        with arrow.OSFile(str(file), "wb") as sink, arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@pytest.mark.parametrize("features", [True, False])
def test_columns_are_found_by_what_they_hold(tmp_path: Path, converted: Convert, suffix: str, features: bool) -> None:
    """The mask stands first, and is called x."""
    rows = {
        "x": [cell(np.roll(LABELS, k)) for k in range(5)],
        "y": [photo(f"{k}.jpg") for k in range(5)],
        "z": range(5),
    }
    for split in ("train", "validation"):
        write(tmp_path / "in" / f"{split}-00000-of-00001{suffix}", features, **{k: list(v) for k, v in rows.items()})
    (tmp_path / "in" / "id2label.json").write_text(json.dumps({"0": "unlabeled", "1": "road", "2": "car"}))
    with pytest.raises(UserError, match=r"160 pixels \(33\.3 %"):
        converted(tmp_path / "in")
    summary = converted(tmp_path / "in", unlabelled="ignore")
    assert summary.names == ("road", "car")
    assert summary.images == {"train": 5, "val": 5}
    for k in range(5):
        expected = np.roll(LABELS, k)
        assert np.array_equal(masks(tmp_path / "out")[str(k)], np.where(expected, expected - 1, 255))


def test_without_names_and_splits(tmp_path: Path, converted: Convert) -> None:
    rgb = np.repeat((LABELS + 7)[..., None], 3, 2)
    write(tmp_path / "in" / "a.parquet", label=[cell(rgb)] * 3, image=[photo()] * 3)
    summary = converted(tmp_path / "in", val=0)
    assert summary.names == ("class 7", "class 8", "class 9")
    assert np.array_equal(masks(tmp_path / "out")["000001"], LABELS)
    (tmp_path / "in" / "id2label.json").write_text(json.dumps({"7": "a", "8": "b"}))
    with pytest.raises(UserError, match=r"3 masks with numbers of no class .*000000: 9 in 16 pixels"):
        converted(tmp_path / "in")


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": [photo()]}, r"1 columns of images \(image\)"),
        ({"a": [cell(LABELS)], "b": [cell(LABELS)]}, "not clear which"),
        ({"a": [photo()], "b": [photo()], "mask": [cell(LABELS)]}, "columns a, b, mask"),
        ({"image": [photo()], "mask": [{"bytes": None, "path": None}]}, "classes"),
    ],
)
def test_what_is_refused(tmp_path: Path, converted: Convert, columns: Any, says: str) -> None:
    write(tmp_path / "in" / "a.parquet", **columns)
    with pytest.raises(UserError, match=says):
        converted(tmp_path / "in")


def test_a_damaged_file(tmp_path: Path, converted: Convert) -> None:
    file = write(tmp_path / "in" / "a.parquet", image=[photo()], mask=[cell(LABELS)])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a.parquet' cannot be read .*download it again"):
        converted(tmp_path / "in")
