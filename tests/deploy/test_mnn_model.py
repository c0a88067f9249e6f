"""ONNX becomes an MNN file that carries a text; nothing is printed, sent or left behind."""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import pytest
from onnx.helper import make_graph, make_node, make_tensor_value_info

from rtseg.deploy.graph import Graph
from rtseg.deploy.mnn_model import convert_to_mnn, mnn_description
from rtseg.errors import UserError

pytest.importorskip("MNN")


@pytest.mark.parametrize("text", ["", "{}", '{"classes": ["ciel", "forêt"], "rest": "' + "x" * 200_000 + '"}'])
def test_a_file_carries_its_text(
    logits_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = convert_to_mnn(logits_graph.model, text)
    assert (mnn_description(model) or "") == text
    assert not list(tmp_path.iterdir())
    assert str(tmp_path).encode() not in model


@pytest.mark.parametrize("model", [b"", b"no graph at all"])
def test_what_is_no_graph_is_refused(model: bytes) -> None:
    with pytest.raises(UserError, match=r"MNN cannot convert the graph \(.*\)$"):
        convert_to_mnn(model, "")


def value(name: str) -> onnx.ValueInfoProto:
    return make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1])


def test_a_network_that_depends_on_the_size_is_refused() -> None:
    branch = make_graph([make_node("Identity", ["x"], ["y"])], "branch", [], [value("y")])
    node = make_node("If", ["few"], ["out"], then_branch=branch, else_branch=branch)
    graph = make_graph([node], "g", [value("x"), value("few")], [value("out")])
    with pytest.raises(UserError, match=r"open sizes, .*one size \(--input-size HEIGHT WIDTH\), or as \.onnx"):
        convert_to_mnn(onnx.helper.make_model(graph).SerializeToString(), "")


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MNN", None)
    with pytest.raises(UserError, match=r"MNN is missing here .*pip install 'rtseg\[mnn\]'"):
        convert_to_mnn(b"", "")


@pytest.mark.parametrize(
    "model", [b"", b"abc", b"\x00" * 64, b"\xff" * 64, struct.pack("<I", 8) + b"\x01" * 12, Path(__file__).read_bytes()]
)
def test_other_files_have_no_description(model: bytes) -> None:
    assert mnn_description(model) is None


def test_a_file_that_is_cut_has_no_description_or_a_whole_one(logits_graph: Graph) -> None:
    model = convert_to_mnn(logits_graph.model, "text")
    assert {mnn_description(model[:end]) for end in range(0, 400, 7)} <= {None, "text"}


def test_what_compiled_code_prints_is_dropped_and_pythons_own_is_not() -> None:
    program = """
import ctypes
from rtseg.deploy.c_output import silent_c
libc = ctypes.CDLL(None)
with silent_c():
    libc.puts(b"of C, inside")
    print("of Python, inside", flush=True)
libc.puts(b"of C, behind")
libc.fflush(None)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert sorted(done.stdout.splitlines()) == ["of C, behind", "of Python, inside"]
