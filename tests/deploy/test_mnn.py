"""MNN takes images of any size in any order, prints nothing, and runs after a fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rtseg.deploy.engines import create_engine
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import OPEN, Graph
from rtseg.models.segmenter import Segmenter

pytest.importorskip("MNN")

SHAPES = [(1, 64, 96), (3, 97, 133), (1, 33, 31), (2, 64, 96), (1, 1, 1)]


@pytest.fixture(scope="module")
def graph(shared_segmenter: Segmenter) -> Graph:
    return export(shared_segmenter, OPEN)


def pictures(shape: tuple[int, int, int]) -> Tensor:
    return torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def program(graph: Graph, folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Runs `text` in a process of its own, with an engine and images of its size."""
    (folder / "net.onnx").write_bytes(graph.model)
    begin = """
import os, sys, torch
from rtseg.deploy.engines.mnn import MNN
from rtseg.deploy.graph import OPEN, Graph
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


@pytest.mark.slow
def test_images_of_any_size_in_any_order(shared_segmenter: Segmenter, graph: Graph) -> None:
    runtime, reference = create_engine("mnn", graph, OPEN), create_engine("reference", shared_segmenter, OPEN)
    first = {}
    for shape in SHAPES:
        images = pictures(shape)
        logits = runtime.logits(images)
        expected = reference.logits(reference.prepare(images))
        assert (logits - expected).abs().max() < 1e-3 * max(1.0, float(expected.std()))
        first[shape] = logits.clone()
    other = create_engine("mnn", graph, OPEN)
    for shape in reversed(SHAPES):  # whatever came before: the same bits
        assert torch.equal(other.logits(pictures(shape)), first[shape])


@pytest.mark.slow
def test_logits_outlive_the_engine_and_images_of_another_size(graph: Graph) -> None:
    runtime = create_engine("mnn", graph, OPEN)
    logits = runtime.logits(pictures(SHAPES[0]))
    expected = logits.clone()
    for shape in SHAPES[1:3]:
        runtime.logits(pictures(shape))
    del runtime
    assert torch.equal(logits, expected)


@pytest.mark.slow
def test_nothing_is_printed_and_the_file_is_gone(graph: Graph, tmp_path: Path) -> None:
    done = program(graph, tmp_path, "print(tuple(make().infer(images).shape), file=sys.stderr)")
    assert done.stdout == ""
    assert done.stderr.split() == ["(1,", "8,", "12,", "5)"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_makes_its_own(graph: Graph, tmp_path: Path) -> None:
    text = """
expected = make().infer(images)
if os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
engine = make()
assert engine.description["threads"] == 1
assert (engine.infer(images) - expected).abs().max() < 1e-2  # the number of threads decides on the arithmetic
os._exit(0)
"""
    program(graph, tmp_path, text)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's counts of memory")
def test_memory_is_flat_over_many_sizes(graph: Graph) -> None:
    runtime = create_engine("mnn", graph, OPEN)

    def run(number: int) -> int:
        for k in range(number):
            runtime.logits(pictures((1, 64 + 37 * k % 301, 64 + 53 * k % 307)))
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    run(100)
    assert run(200) - run(200) > -(2**23)
