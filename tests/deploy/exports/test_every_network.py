"""Each attention of Table 3 and the other networks, in every format: on every engine that reads the file, at odd sizes
and in batches, logits and class maps are those of plain PyTorch, and the file proves itself.

`-o junit_family=xunit1 --junitxml FILE` keeps what each format reached.
"""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtseg.deploy.engines import FP32, create_engine
from rtseg.deploy.exports.build import exports
from rtseg.deploy.exports.command import write_graph
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.exports.verify import engines_of, verify_file
from rtseg.deploy.graph import OPEN, Format, Graph, OpenShape, Shape
from rtseg.deploy.rgb import to_rgb
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.network import Network
from rtseg.scenes import draw_scene
from rtseg.speed.parity import measure_parity
from rtseg.studies.compare.rows import PAPER_MODEL, TABLE3
from tests.helpers.fixtures import SHARED

LIBRARIES: dict[Format, str] = {"onnx": "onnxruntime", "xml": "openvino", "mnn": "MNN", "pt2": "torch"}
FIXED: Shape = (2, 97, 133)
SIZES = ((64, 96), (97, 133), (161, 223), (255, 340))
SMALL = {"base_channels": 8, "spp_channels": 16, "head_channels": 8}
MEAN, HALF = (np.array(mean, np.float32) * 255 for mean in ((0.485, 0.456, 0.406), (0.5, 0.5, 0.5)))
MISTAKES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "BGR": lambda image: image[..., ::-1],
    "mean": lambda image: (image + (MEAN - HALF)).round().clip(0, 255).astype(np.uint8),
    "resize": lambda image: cv2.resize(cv2.resize(image, None, fx=7 / 8, fy=7 / 8), image.shape[1::-1]),
}


def networks() -> list[Any]:
    """Table 3's attentions in small networks, and the others as they are."""
    rows = {row.attention: (PAPER_MODEL, {**SMALL, "attention": row.attention}) for row in TABLE3}
    others: dict[str, tuple[str, dict[str, Any]]] = {
        name: (name, {}) for name in ("rtformer_slim", "rtformer_base", "ddrnet_23_slim", "pidnet_s")
    }
    return [pytest.param(*network, id=name) for name, network in {**rows, **others}.items()]


@lru_cache(maxsize=1)  # the formats of a network come one after the other
def exported(
    model: str, options: tuple[tuple[str, Any], ...], shape: OpenShape
) -> tuple[Network, Proof, dict[Format, Graph]]:
    """A network with the statistics of a training, so that classes differ from place to place, and its files."""
    torch.manual_seed(0)
    network = create_model(model, 5, **dict(options)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    proof = prove(network, shape)
    formats = [f for f, library in LIBRARIES.items() if importlib.util.find_spec(library)]
    if refuses("mnn", network, shape):
        with pytest.raises(UserError, match="MNN cannot run this network with open sizes"):
            list(exports(network, shape, "logits", ["mnn"], proof))
        formats.remove("mnn")
    return network, proof, {graph.format: graph for graph in exports(network, shape, "logits", formats, proof)}


@lru_cache(maxsize=1)
def photographs() -> list[np.ndarray]:
    """Three frames of CamVid, 360x480, where they are at hand; else drawn streets."""
    files = sorted((SHARED / "data/camvid/val").glob("*.jpg"))[::40]
    return [to_rgb(file) for file in files] or [draw_scene(np.random.default_rng(i), (360, 480))[0] for i in range(3)]


def images(shape: Shape) -> Tensor:
    """(B, H, W, 3): a window of each photograph, where the street is."""
    batch, height, width = shape
    windows = [one[100 : 100 + height, 70 : 70 + width] for one in photographs()[:batch]]
    return torch.from_numpy(np.stack(windows))


# The largest error of the logits, the least equal per cent. MNN's Winograd rounds a hundred times as coarsely as plain
# float32, its GELU is the tanh form, and an untrained PIDNet enlarges rounding twenty times as much as the others do.
USUAL = (FP32.most_logits_error, FP32.least_equal_percent)
OF_MNN = (FP32.most_logits_error, 99.9)
OF_MNN_IN_PIDNET = (5e-3, 99.9)


def refuses(backend: str, network: Network, shape: OpenShape) -> bool:
    """MNN runs no graph with branches: `na` of open size has two."""
    return backend in ("mnn", "mnn-small-tiles") and network.card.attention.startswith("na") and shape == OPEN


@pytest.mark.slow
@pytest.mark.parametrize("format", LIBRARIES)
@pytest.mark.parametrize("shape", [OPEN, FIXED], ids=["open", "fixed"])
@pytest.mark.parametrize(("model", "options"), networks())
def test_every_network_in_every_format(
    model: str,
    options: dict[str, Any],
    shape: OpenShape,
    format: Format,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    pytest.importorskip(LIBRARIES[format])
    network, proof, graphs = exported(model, tuple(options.items()), shape)
    proof = proof.of_format(format)
    if format not in graphs:
        return  # refused, as `exported` has checked
    graph = graphs[format]
    for backend in engines_of(format):
        if refuses(backend, network, shape):
            with pytest.raises(UserError, match="MNN cannot run this network with open sizes"):
                create_engine(backend, graph, shape)
        else:
            record_property(backend, check(backend, graph, network, proof))
    write_graph(tmp_path / f"net.{format}", graph)
    check_verified(tmp_path / f"net.{format}", engines_of(format)[0])


def check(backend: str, graph: Graph, network: Network, proof: Proof) -> dict[str, float]:
    """An untrained network separates some pixels by rounding alone: its logits are compared too."""
    of_mnn = OF_MNN_IN_PIDNET if network.card.model == "pidnet_s" else OF_MNN
    error, percent = of_mnn if backend.startswith("mnn") else USUAL
    batches = [images((n, *size)) for size in SIZES for n in (1, 3)] if graph.shape == OPEN else [images(FIXED)]
    engine, reference = create_engine(backend, graph, graph.shape), create_engine("reference", network, graph.shape)
    parity = measure_parity(engine, reference, batches, trained=False, least_percent=None)
    assert parity.gate == "logits_error", (backend, parity.refusal())
    assert parity.logits_error is not None
    assert parity.logits_error <= error, (backend, parity.refusal())
    assert parity.equal_percent >= percent, (backend, parity)

    def of_proof(image: np.ndarray) -> float:
        repeated = torch.from_numpy(np.repeat(image[None], graph.shape[0] or 1, 0))
        return min(map(proof.equal_percent, engine(repeated).numpy()))

    assert of_proof(proof.image) >= percent, backend
    for name, mistake in MISTAKES.items():  # what a file with this mistake would see of the image
        assert of_proof(np.ascontiguousarray(mistake(proof.image))) < percent, (backend, name)
    return {"equal_percent": parity.equal_percent, "logits_error": parity.logits_error}


def check_verified(file: Path, backend: str) -> None:
    """`rtseg verify` takes it, and refuses it with one flipped bit, wherever it lies."""
    assert verify_file(file, backend)
    for path in file.parent.iterdir():
        whole = path.read_bytes()
        for share in (0.2, 0.9):
            place = int(share * len(whole))
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
            with pytest.raises(UserError, match=f"'{file}'"):
                read_graph(file)
        path.write_bytes(whole)
