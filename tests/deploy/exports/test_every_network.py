"""Each attention of Table 3 and the other networks, in every format: on every engine that reads the file, at odd sizes
and in batches, logits and class maps are those of plain PyTorch, and the file proves itself.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtseg.deploy.engines import FP32, create_engine
from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.verify import engines_of, equal_percent
from rtseg.deploy.graph import OPEN, Format, Graph, OpenShape, Shape
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.network import Network
from rtseg.scenes import draw_scene
from rtseg.speed.parity import measure_parity
from rtseg.studies.compare.rows import PAPER_MODEL, TABLE3

LIBRARIES: dict[Format, str] = {"onnx": "onnxruntime", "xml": "openvino", "mnn": "MNN", "pt2": "torch"}
FIXED: Shape = (2, 97, 133)
SIZES = ((64, 96), (97, 133), (45, 60), (128, 191))
SMALL = {"base_channels": 8, "spp_channels": 16, "head_channels": 8}


def networks() -> list[Any]:
    """Table 3's attentions in small networks, and the others as they are."""
    rows = {row.attention: (PAPER_MODEL, {**SMALL, "attention": row.attention}) for row in TABLE3}
    others: dict[str, tuple[str, dict[str, Any]]] = {
        name: (name, {}) for name in ("rtformer_slim", "rtformer_base", "ddrnet_23_slim", "pidnet_s")
    }
    return [pytest.param(*network, id=name) for name, network in {**rows, **others}.items()]


@lru_cache(maxsize=1)  # the formats of a network come one after the other
def proven(model: str, options: tuple[tuple[str, Any], ...], shape: OpenShape) -> tuple[Network, Proof]:
    """A network with the statistics of a training, so that classes differ from place to place."""
    torch.manual_seed(0)
    network = create_model(model, 5, **dict(options)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.running_var is not None:
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network, prove(network, shape)


def images(shape: Shape) -> Tensor:
    drawn = [draw_scene(np.random.default_rng(i), (max(48, shape[1]), max(48, shape[2])))[0] for i in range(shape[0])]
    return torch.from_numpy(np.stack(drawn)[:, : shape[1], : shape[2]].copy())


# The largest error of the logits, the least equal per cent. MNN's Winograd rounds a hundred times as coarsely as plain
# float32, and an untrained PIDNet enlarges rounding twenty times as much as the others do.
USUAL = (FP32.most_logits_error, FP32.least_equal_percent)
OF_MNN = (FP32.most_logits_error, 99.9)
OF_MNN_IN_PIDNET = (5e-3, 99.9)


def refuses(backend: str, network: Network, shape: OpenShape) -> bool:
    """MNN runs no graph with branches: `na` of open size has two."""
    return backend == "mnn" and network.card.attention.startswith("na") and shape == OPEN


@pytest.mark.slow
@pytest.mark.parametrize("format", LIBRARIES)
@pytest.mark.parametrize("shape", [OPEN, FIXED], ids=["open", "fixed"])
@pytest.mark.parametrize(("model", "options"), networks())
def test_every_network_in_every_format(model: str, options: dict[str, Any], shape: OpenShape, format: Format) -> None:
    pytest.importorskip(LIBRARIES[format])
    network, proof = proven(model, tuple(options.items()), shape)
    if format == "mnn" and refuses("mnn", network, shape):
        with pytest.raises(UserError, match="MNN cannot run this network with open sizes"):
            export(network, shape, "logits", format, proof)
        return
    graph = export(network, shape, "logits", format, proof)
    for backend in engines_of(format):
        if refuses(backend, network, shape):
            with pytest.raises(UserError, match="MNN cannot run this network with open sizes"):
                create_engine(backend, graph, shape)
        else:
            check(backend, graph, network, proof)


def check(backend: str, graph: Graph, network: Network, proof: Proof) -> None:
    """An untrained network separates some pixels by rounding alone: its logits are compared too."""
    of_mnn = OF_MNN_IN_PIDNET if network.card.model == "pidnet_s" else OF_MNN
    error, percent = of_mnn if backend == "mnn" else USUAL
    batches = [images((n, *size)) for size in SIZES for n in (1, 3)] if graph.shape == OPEN else [images(FIXED)]
    engine, reference = create_engine(backend, graph, graph.shape), create_engine("reference", network, graph.shape)
    parity = measure_parity(engine, reference, batches, trained=False, least_percent=None)
    assert parity.gate == "logits_error", (backend, parity.refusal())
    assert parity.logits_error is not None
    assert parity.logits_error <= error, (backend, parity.refusal())
    assert parity.equal_percent >= percent, (backend, parity)
    assert equal_percent(backend, graph, proof) >= percent, backend
