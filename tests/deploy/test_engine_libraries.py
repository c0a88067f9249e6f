"""What is missing on a machine is named, with the line that installs it."""

import sys

import pytest
import torch

from rtseg.deploy.engines import (
    best_backend,
    create_engine,
    parse_backend,
)
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from tests.helpers.engines import CPU
from tests.helpers.networks import SHAPE


@pytest.mark.parametrize(
    ("name", "library", "extra"),
    [
        ("onnxruntime", "onnxruntime", "onnx"),
        ("onnxruntime-plain", "onnxruntime", "onnx"),
        ("openvino", "openvino", "openvino"),
        ("openvino:int8", "nncf", "openvino"),
        ("mnn", "MNN", "mnn"),
        ("mnn-small-tiles", "MNN", "mnn"),
    ],
)
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, name: str, library: str, extra: str
) -> None:
    if library == "nncf":
        pytest.importorskip("openvino")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"{library} is missing here .*pip install 'rtseg\[{extra}\]'"):
        create_engine(name, shared_segmenter, SHAPE)


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_a_missing_exporter_is_named(
    shared_segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=rf"{library} is missing here .*pip install 'rtseg\[onnx\]'"):
        create_engine("onnxruntime", shared_segmenter, SHAPE)


def test_missing_instructions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")

    class OldProcessor:
        def get_property(self, *_: str) -> list[str]:
            return ["FP32", "INT8", "BIN"]

    monkeypatch.setattr("rtseg.deploy.engines.openvino.core", OldProcessor)
    for precision in ("bf16", "fp16"):
        kind, _ = parse_backend("openvino")
        with pytest.raises(UserError, match=f"no {precision} instructions; OpenVINO finds FP32, INT8.*openvino:fp32"):
            kind.check(precision, CPU)
    kind.check("fp32", CPU)
    monkeypatch.setitem(sys.modules, "MNN", None)
    assert best_backend(CPU) == "openvino"


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"'no-such-compiler' is not here: apt-get install g\+\+"):
        parse_backend("compile")[0].check("fp32", CPU)


def test_an_onnx_runtime_without_cuda_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(engine, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(UserError, match=r"has no CUDA.*pip install onnxruntime-gpu"):
        parse_backend("onnxruntime")[0].check("fp32", torch.device("cuda"))


@pytest.mark.parametrize(
    ("name", "reader"),
    [("onnxruntime", "ONNX Runtime cannot run"), ("openvino", "OpenVINO"), ("mnn", "MNN cannot convert")],
)
def test_bytes_that_are_no_graph_are_refused(logits_graph: Graph, name: str, reader: str) -> None:
    pytest.importorskip("MNN" if name == "mnn" else name)
    for model in (b"", b"no graph at all", logits_graph.model[: len(logits_graph.model) // 2]):
        bad = Graph(model, logits_graph.card, logits_graph.weights, "logits", SHAPE)
        with pytest.raises(UserError, match=reader):
            create_engine(name, bad, SHAPE)
