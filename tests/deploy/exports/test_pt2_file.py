"""A .pt2 file of a stranger runs nothing: what PyTorch would unpickle or evaluate is refused before PyTorch sees it."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.pt2_file import load_pt2, pt2_text
from rtseg.deploy.graph import OPEN
from rtseg.errors import UserError
from tests.deploy.exports.test_formats import OneConvolution, images

CODE = "__import__('pathlib').Path({path!r}).touch()"
FROM_FILE = "torch.ops.aten.from_file.default"


class Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.path,))


@pytest.fixture(scope="module")
def content() -> bytes:
    return export(OneConvolution(), OPEN, "logits", "pt2").model


def rewritten(content: bytes, change: Callable[[dict[str, bytes]], None], compress: int = zipfile.ZIP_STORED) -> bytes:
    """The same archive with other records, as another program writes it."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    change(records)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compress) as archive:
        for name, data in records.items():
            archive.writestr(name, data)
    return file.getvalue()


def edit(record: str, change: Callable[[Any], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(records: dict[str, bytes]) -> None:
        entries = json.loads(records[f"archive/{record}"])
        change(entries)
        records[f"archive/{record}"] = json.dumps(entries).encode()

    return apply


def first_node(model: Any) -> Any:
    return model["graph_module"]["graph"]["nodes"][0]


def name_input(model: Any, name: str) -> None:
    model["graph_module"]["graph"]["inputs"][0]["as_tensor"]["name"] = name


def test_what_is_written_is_loaded(content: bytes) -> None:
    again = rewritten(content, lambda records: None)
    given = images((2, 33, 47))
    with torch.inference_mode():
        one, other = (load_pt2(file, "it").module()(given) for file in (content, again))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert json.loads(pt2_text(content) or "")["output"] == "logits"
    assert pt2_text(b"PK") is None


def changes(path: str) -> dict[str, Callable[[dict[str, bytes]], None]]:
    """By what a message says of it."""
    code, pickled = CODE.format(path=path), pickle.dumps(Bomb(path))
    weights = "data/weights/model_weights_config.json"

    def use_pickle(config: Any) -> None:
        entry = next(iter(config["config"].values()))
        entry["use_pickle"] = True

    def size(model: Any) -> None:
        sizes = next(iter(model["graph_module"]["graph"]["tensor_values"].values()))["sizes"]
        sizes[0] = {"as_expr": {"expr_str": code, "hint": None}}

    return {
        "use_pickle": edit(weights, use_pickle),
        "guards_code": edit("models/model.json", lambda model: model["guards_code"].append(code)),
        "of expr_str": edit("models/model.json", size),
        "of target": edit("models/model.json", lambda model: first_node(model).update(target="os.system")),
        "from_file": edit("models/model.json", lambda model: first_node(model).update(target=FROM_FILE)),
        "of name": edit("models/model.json", lambda model: name_input(model, code)),
        "is pickled": lambda records: records.update({"archive/data/sample_inputs/model.pt": pickled}),
        "is unknown": lambda records: records.update({"archive/data/constants/opaque_obj_0": pickled}),
        "not JSON": lambda records: records.update({"archive/models/model.json": b"{"}),
    }


@pytest.mark.parametrize("words", list(changes("")))
def test_nothing_of_the_file_runs(words: str, content: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "ran"
    changed = rewritten(content, changes(str(bomb))[words])
    with pytest.raises(UserError, match=rf"it is not loaded, since it could run code of its own: .*{words}"):
        load_pt2(changed, "it")
    assert not bomb.exists()


def two_tables(shown: bytes, hidden: bytes) -> bytes:
    """An archive with two tables of contents: Python reads the one before its end, others the one at its offset."""

    def table(archive: bytes) -> tuple[int, int]:
        size, offset = struct.unpack("<II", archive[-10:-2])
        return size, offset

    (size, first), (same, start) = table(hidden), table(shown)
    assert size == same
    before = hidden[: first + size]
    entries, at = bytearray(shown[start : start + size]), 0
    while at < size:
        lengths = struct.unpack("<HHH", entries[at + 28 : at + 34])
        offset = struct.unpack("<I", entries[at + 42 : at + 46])[0]
        entries[at + 42 : at + 46] = struct.pack("<I", offset + first - start)  # as Python counts
        at += 46 + sum(lengths)
    end = bytearray(shown[-22:])
    end[16:20] = struct.pack("<I", first)
    return before + shown[:start] + bytes(entries) + bytes(end)


def test_what_is_checked_is_what_is_loaded(content: bytes, tmp_path: Path) -> None:
    bomb = tmp_path / "ran"
    change = changes(str(bomb))["guards_code"]
    hidden, plain = rewritten(content, change), rewritten(content, lambda records: None)
    both = two_tables(plain, hidden)
    with zipfile.ZipFile(io.BytesIO(both)) as archive:
        assert json.loads(archive.read("archive/models/model.json"))["guards_code"] == []
    assert torch.export.load(io.BytesIO(both))._guards_code  # what PyTorch would read
    assert not load_pt2(both, "it")._guards_code
    assert not bomb.exists()


def test_archives_of_others(content: bytes) -> None:
    for wrong, words in (
        (b"", "not a zip file"),
        (content[:-300], "zip"),
        (rewritten(content, lambda records: None, zipfile.ZIP_DEFLATED), "more bytes than it has|is unknown"),
    ):
        with pytest.raises(UserError, match=words):
            load_pt2(wrong, "it")
