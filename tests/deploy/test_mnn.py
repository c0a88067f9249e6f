"""MNN takes images of any size in any order, prints nothing, and runs after a fork."""

import os
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx.helper import make_graph, make_model, make_node, make_tensor_value_info
from torch import Tensor

from rtseg.deploy.engines import create_engine
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import OPEN, Graph, OpenShape
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter

pytest.importorskip("MNN")

SHAPES = [(1, 64, 96), (3, 97, 133), (1, 33, 31), (2, 64, 96), (1, 1, 1)]


def pictures(shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def program(graph: Graph, folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Runs `text` in a process of its own, with an engine and images of its size."""
    (folder / "net.onnx").write_bytes(graph.model)
    begin = """
import os, sys, torch
from rtseg.deploy.engines.mnn import MNN
from rtseg.deploy.graph import OPEN, Graph, OpenShape
torch.set_num_threads(2)
graph = Graph(open("net.onnx", "rb").read(), None, "", "logits", OPEN)
def make():
    MNN.check("fp32", torch.device("cpu"))
    return MNN.create(graph, "fp32", OPEN, torch.device("cpu"))
images = torch.randint(0, 256, (1, 64, 96, 3), dtype=torch.uint8)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", begin + text]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=300)


def convolutions(weights: list[Tensor], size: int) -> Graph:
    """3x3 convolutions of uint8 images, one after the other."""
    nodes = [make_node("Cast", ["images"], ["x"], to=1), make_node("Transpose", ["x"], ["0"], perm=[0, 3, 1, 2])]
    nodes += [
        make_node("Conv", [f"{i}", f"w{i}"], [f"{i + 1}"], pads=[1, 1, 1, 1], kernel_shape=[3, 3])
        for i in range(len(weights))
    ]
    nodes.append(make_node("Transpose", [f"{len(weights)}"], ["logits"], perm=[0, 2, 3, 1]))
    put_in = make_tensor_value_info("images", onnx.TensorProto.UINT8, [1, size, size, 3])
    put_out = make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, size, size, len(weights[-1])])
    constants = [onnx.numpy_helper.from_array(w.numpy(), f"w{i}") for i, w in enumerate(weights)]
    model = make_model(make_graph(nodes, "g", [put_in], [put_out], constants), ir_version=10)
    model.opset_import[0].version = 18
    return Graph(model.SerializeToString(), ModelCard("x", "none", len(weights[-1])), "", "logits", (1, size, size))


def test_the_exact_engine_rounds_less() -> None:
    """On maps that are large enough for Winograd's large tiles."""
    random = torch.Generator().manual_seed(1)
    weights = [torch.randn(32, channels, 3, 3, generator=random) for channels in (3, 32, 32)]
    images = pictures((1, 64, 64))
    expected = images.permute(0, 3, 1, 2).double()
    for weight in weights:
        expected = F.conv2d(expected, weight.double(), padding=1)
    errors = {}
    for name in ("mnn", "mnn-small-tiles"):
        logits = create_engine(name, convolutions(weights, 64), (1, 64, 64)).logits(images)
        errors[name] = float((logits - expected).square().mean().sqrt() / expected.std())
    assert errors["mnn-small-tiles"] < 1e-6
    assert errors["mnn-small-tiles"] < errors["mnn"] / 3


@pytest.mark.parametrize("shape", [OPEN, (3, 64, 96)], ids=["open", "fixed"])
def test_each_image_of_a_batch_has_its_own_logits(
    shared_segmenter: Segmenter, open_graph: Graph, shape: OpenShape
) -> None:
    """Cross-resolution attention has other keys for each image, and MNN takes wrong ones where rows share them."""
    assert shared_segmenter.card.attention == "gfa+ca"
    graph = open_graph if shape == OPEN else export(shared_segmenter, shape)
    runtime, reference = create_engine("mnn", graph, shape), create_engine("reference", shared_segmenter, OPEN)
    for number in (2, 3) if shape == OPEN else (3,):
        images = pictures((number, 64, 96))
        expected = reference.logits(reference.prepare(images))
        assert float((expected[0] - expected[1]).std()) > 0.1
        assert (runtime.logits(images) - expected).abs().max() < 1e-3 * float(expected.std())


@pytest.mark.slow
def test_images_of_any_size_in_any_order(shared_segmenter: Segmenter, open_graph: Graph) -> None:
    runtime, reference = create_engine("mnn", open_graph, OPEN), create_engine("reference", shared_segmenter, OPEN)
    first = {}
    for shape in SHAPES:
        images = pictures(shape)
        logits = runtime.logits(images)
        expected = reference.logits(reference.prepare(images))
        assert (logits - expected).abs().max() < 1e-3 * max(1.0, float(expected.std()))
        first[shape] = logits.clone()
    other = create_engine("mnn", open_graph, OPEN)
    for shape in reversed(SHAPES):  # whatever came before: the same bits
        assert torch.equal(other.logits(pictures(shape)), first[shape])


@pytest.mark.slow
def test_logits_outlive_the_engine_and_images_of_another_size(open_graph: Graph) -> None:
    runtime = create_engine("mnn", open_graph, OPEN)
    logits = runtime.logits(pictures(SHAPES[0]))
    expected = logits.clone()
    for shape in SHAPES[1:3]:
        runtime.logits(pictures(shape))
    del runtime
    assert torch.equal(logits, expected)


@pytest.mark.slow
def test_nothing_is_printed_and_the_file_is_gone(open_graph: Graph, tmp_path: Path) -> None:
    done = program(open_graph, tmp_path, "print(tuple(make().infer(images).shape), file=sys.stderr)")
    assert done.stdout == ""
    assert done.stderr.split() == ["(1,", "8,", "12,", "5)"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_makes_its_own(open_graph: Graph, tmp_path: Path) -> None:
    text = """
expected = make().infer(images)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
engine = make()
assert engine.description["threads"] == 1
assert (engine.infer(images) - expected).abs().max() < 1e-2  # the number of threads decides on the arithmetic
os._exit(0)
"""
    program(open_graph, tmp_path, text)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's counts of memory")
def test_memory_is_flat_over_many_sizes(open_graph: Graph) -> None:
    runtime = create_engine("mnn", open_graph, OPEN)

    def run(number: int) -> int:
        for k in range(number):
            runtime.logits(pictures((1, 64 + 37 * k % 301, 64 + 53 * k % 307)))
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    run(100)
    assert run(200) - run(200) > -(2**23)
