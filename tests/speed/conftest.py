"""A network with its exported graphs, measured here."""

import pytest

from rtseg.deploy.graph import Graph
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.speed.benchmark import (
    Candidate,
)
from tests.helpers.networks import SHAPE


@pytest.fixture(scope="module")
def candidate(shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph) -> Candidate:
    """With the graphs that are there already."""
    found = Candidate(shared_segmenter, weights_hash(shared_segmenter))
    found._graphs.update({(SHAPE, "logits", "onnx"): logits_graph, (SHAPE, "class_map", "onnx"): class_map_graph})
    return found


@pytest.fixture(scope="module")
def checkpoint(shared_segmenter: Segmenter, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("checkpoint") / "net"
    shared_segmenter.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def exported(logits_graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of the same network, for images of SHAPE."""
    pytest.importorskip("onnxruntime")
    file = tmp_path_factory.mktemp("exported") / "net.onnx"
    file.write_bytes(logits_graph.model)
    return str(file)
