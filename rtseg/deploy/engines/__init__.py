"""A network at work on one of several engines, all behind one protocol: pictures -> logits -> class maps.

| backend           | engine                                                                          |
|-------------------|---------------------------------------------------------------------------------|
| reference         | PyTorch as most repositories run it: nothing folded, NCHW, interpolate + argmax |
| eager             | PyTorch, BatchNorm folded, channels_last, `class_map`                           |
| compile           | the same through torch.compile                                                  |
| cudagraph         | the same as one CUDA graph                                                      |
| onnxruntime       | ONNX Runtime, then `class_map`                                                  |
| onnxruntime-plain | ONNX Runtime, upsampling and argmax in the graph, as others export              |
| openvino          | OpenVINO, then `class_map`                                                      |

A backend's name takes a precision: "openvino:bf16"; fp32 without one.

B batch, H, W picture size, K classes, h, w the size of the logits.
"""

import torch
from torch import Tensor

from rtseg.deploy.device import choose_device
from rtseg.deploy.engines import (  # noqa: F401  (importing a file registers its engine)
    compiled,
    cudagraph,
    eager,
    onnxruntime,
    onnxruntime_plain,
    openvino,
    reference,
)
from rtseg.deploy.engines.base import DTYPES, Engine, Shape, list_backends, parse_backend
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.torch_engine import TorchEngine
from rtseg.deploy.export import OnnxGraph, export
from rtseg.errors import UserError
from rtseg.models.network import Network

__all__ = ["DTYPES", "Engine", "Shape", "best_backend", "create_engine", "list_backends", "parse_backend"]


def best_backend(device: torch.device) -> str | None:
    """What is usually the fastest of the engines that can be had here beside eager PyTorch; None where none can."""
    preferred = {
        "cpu": ("openvino:bf16", "openvino", "onnxruntime"),
        "cuda": ("cudagraph:fp16",),
    }
    for name in preferred.get(device.type, ()):
        kind, precision = parse_backend(name)
        try:
            kind.check(precision, device)
        except UserError:
            continue
        return name
    return None


def create_engine(
    name: str,
    network: Network | OnnxGraph,
    shape: Shape,
    *,
    device: torch.device | str | None = None,
    calibration: Tensor | None = None,
) -> Engine:
    """Builds a runtime. On a CPU engines take PyTorch's number of threads.

    Args:
        name: "backend" or "backend:precision".
        network: a segmenter, or a module with its `card` and `logits`, which is copied; or an exported graph.
        shape: (B, H, W) of the pictures.
        device: None takes the CPU.
        calibration: (N, H, W, 3) uint8 pictures from which int8 takes its ranges.

    Raises:
        UserError: an unknown backend, or one that is not installed or cannot run on this device, at this precision or
            shape, or this graph.
    """
    kind, precision = parse_backend(name)
    device = choose_device(device or "cpu")
    kind.check(precision, device)
    if issubclass(kind, GraphEngine):
        assert kind.output is not None
        graph = network if isinstance(network, OnnxGraph) else export(network, shape, kind.output)
        graph.check(shape, kind.output)
        return kind(precision, shape, device, graph=graph, calibration=calibration)
    assert issubclass(kind, TorchEngine)
    if isinstance(network, OnnxGraph):
        raise UserError(f"backend '{kind.backend}' runs PyTorch networks, not {network.name}: give the checkpoint")
    return kind(precision, shape, device, network)
