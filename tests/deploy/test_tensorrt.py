"""What TensorRT is given, and how its plans are kept. That it runs, `test_engines` tests where there is a GPU."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rtseg.deploy.engines import parse_backend
from rtseg.deploy.engines.tensorrt import TensorRT, build_plan, strongly_typed
from rtseg.deploy.graph import Graph
from rtseg.errors import UserError
from tests.helpers.networks import SHAPE

CUDA = torch.device("cuda")


class Library(SimpleNamespace):
    """As much of TensorRT as building a plan needs; it notes what it is asked."""

    def __init__(self, *, reads: bool = True, builds: bool = True) -> None:
        class Logger:
            ERROR = 1

            def __init__(self, level: int) -> None:
                pass

        error = SimpleNamespace(desc=lambda: "no such operator")
        images = SimpleNamespace(shape=(-1, -1, -1, 3))
        network = SimpleNamespace(get_input=lambda i: images)
        config = SimpleNamespace(clear_flag=lambda flag: self.asked.append(("clear", flag)))
        builder = SimpleNamespace(
            create_network=lambda flags: self.asked.append(("network", flags)) or network,
            create_builder_config=lambda: config,
            build_serialized_network=lambda *_: b"a plan" if builds else None,
        )
        parser = SimpleNamespace(parse=lambda model: reads, num_errors=1, get_error=lambda i: error)
        super().__init__(
            __version__="11.4.0", asked=[], images=images, Logger=Logger, Builder=lambda logger: builder,
            OnnxParser=lambda network, logger: parser, BuilderFlag=SimpleNamespace(TF32="tf32"),
            NetworkDefinitionCreationFlag=SimpleNamespace(STRONGLY_TYPED=1),
        )  # fmt: skip


def test_a_plan_is_strongly_typed_without_tf32_and_of_one_size() -> None:
    library = Library()
    assert build_plan(library, b"", SHAPE, "net.onnx") == b"a plan"
    assert library.asked == [("network", 2), ("clear", "tf32")]
    assert library.images.shape == (*SHAPE, 3)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (Library(reads=False), r"TensorRT 11\.4\.0 cannot read net\.onnx: no such operator"),
        (Library(builds=False), r"TensorRT 11\.4\.0 cannot build net\.onnx"),
    ],
)
def test_graphs_that_it_refuses(library: Library, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_plan(library, b"", SHAPE, "net.onnx")


def test_plans_are_kept_for_one_gpu_one_version_one_precision_and_one_graph(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, logits_graph: Graph
) -> None:
    monkeypatch.setenv("RTSEG_CACHE", str(tmp_path))
    gpu = SimpleNamespace(name="GPU", major=9, minor=0)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda device: gpu)
    library = Library()

    def plan(precision: str = "fp32", graph: Graph = logits_graph) -> bool:
        content, cached = TensorRT._plan(library, precision, SHAPE, CUDA, graph)
        assert content == b"a plan"
        return cached

    assert [plan(), plan(), plan("fp16"), plan("fp16")] == [False, True, False, True]
    library.__version__ = "11.5.0"
    assert [plan(), plan()] == [False, True]
    gpu.name = "another"
    assert [plan(), plan()] == [False, True]
    assert len(list((tmp_path / "tensorrt").glob("*.plan"))) == 4


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_graph_that_it_gets_computes_the_same(logits_graph: Graph, precision: str) -> None:
    onnx, engine = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    typed = strongly_typed(logits_graph.model, precision)
    nodes = onnx.load_model_from_string(typed).graph.node
    assert [node.op_type for node in nodes[:2]] == ["Cast", "Transpose"]  # uint8 may be cast alone
    weights = {tensor.data_type for tensor in onnx.load_model_from_string(typed).graph.initializer}
    assert (onnx.TensorProto.FLOAT in weights) == (precision == "fp32")
    images = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)

    def run(model: bytes) -> Any:
        session = engine.InferenceSession(model, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: images})[0]

    expected, found = run(logits_graph.model), run(typed)
    assert found.dtype == np.float32
    error = np.abs(found - expected).max() / expected.std()
    assert error < (1e-4 if precision == "fp32" else 0.05)
    assert (error > 0) == (precision == "fp16")


def test_a_missing_tensorrt_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    for precision in ("fp32", "fp16"):
        with pytest.raises(UserError, match=r"tensorrt is missing here .*pip install 'rtseg\[tensorrt\]'"):
            parse_backend("tensorrt")[0].check(precision, CUDA)
