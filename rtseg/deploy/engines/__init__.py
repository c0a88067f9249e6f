"""Engines that run a network, all with one interface: images -> logits -> class maps.

Each engine has a file. docs/benchmark.md and `rtseg list backends --details` have a table of them. A backend's name may
have a precision: "openvino:bf16". The default is the engine's first precision, fp32.

B batch, H, W image size, K classes, h, w the size of the logits.
"""

import torch
from torch import Tensor

from rtseg.deploy.device import choose_device

# Importing a file registers its engine; listings keep this order.
# isort: off
from rtseg.deploy.engines import reference, eager, compiled, cudagraph  # noqa: F401
from rtseg.deploy.engines import onnxruntime, onnxruntime_plain, onnxruntime_webgpu  # noqa: F401
from rtseg.deploy.engines import openvino, mnn, mnn_small_tiles, tensorrt, torch_export  # noqa: F401

# isort: on
from rtseg.deploy.engines.base import Engine, size_of
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import BF16, FP16, FP32, INT8, Precision, by_name
from rtseg.deploy.engines.registry import (
    engine_classes,
    list_backends,
    parse_backend,
    register_engine,
    short_name,
)
from rtseg.deploy.engines.torch_engine import TorchEngine
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import Graph, OpenShape, Shape, written
from rtseg.errors import UserError
from rtseg.models.network import Network

__all__ = [
    "BF16",
    "FP16",
    "FP32",
    "INT8",
    "Engine",
    "GraphEngine",
    "OpenShape",
    "Precision",
    "Shape",
    "TorchEngine",
    "best_backend",
    "by_name",
    "create_engine",
    "engine_classes",
    "list_backends",
    "parse_backend",
    "reference_for",
    "register_engine",
    "size_of",
    "usual_backends",
]


def best_backend(device: torch.device) -> str | None:
    """The backend that is usually the fastest of those installed here, eager PyTorch left out; None without any."""
    ranked = [
        (rank, kind, precision)
        for kind in engine_classes()
        if device.type in kind.devices
        for precision, rank in kind.preferred(device).items()
    ]
    for _, kind, precision in sorted(ranked, key=lambda entry: -entry[0]):
        try:
            kind.check(precision, device)
        except UserError:
            continue
        return short_name(kind, precision)
    return None


def usual_backends(device: torch.device) -> list[str]:
    """The backends that are measured on a device by default, installed or not."""
    kinds = [kind for kind in engine_classes() if device.type in kind.devices]
    return [short_name(kind, precision) for kind in kinds for precision in kind.measured(device)]


def reference_for(network: Network | Graph) -> str:
    """The backend that others are compared with: plain PyTorch; for an exported graph, one that reads it, and that is
    installed here if any is.
    """
    takes = "graph" if isinstance(network, Graph) else "network"
    kinds = [kind for kind in engine_classes() if kind.takes == takes and kind.runs(network)]
    return min(kinds, key=lambda kind: (not kind.is_here(), kind.is_coarse, not kind.is_reference)).backend


def create_engine(
    name: str,
    network: Network | Graph,
    shape: OpenShape,
    *,
    device: torch.device | str | None = None,
    calibration: Tensor | None = None,
) -> Engine:
    """Builds an engine. On a CPU engines take PyTorch's number of threads.

    Args:
        name: "backend" or "backend:precision".
        network: a segmenter, or a module with its `card` and `logits`, which is copied; or an exported graph.
        shape: (B, H, W) of the images; None for any number, if the engine's class has `open_sizes`.
        device: None takes the CPU.
        calibration: (N, H, W, 3) uint8 images from which int8 takes its ranges.

    Raises:
        UserError: the backend is unknown, not installed, or cannot run this network on this device at this precision
            and shape; or a plug-in's `create` does not return an engine.
    """
    kind, precision = parse_backend(name)
    device = choose_device(device or "cpu")
    kind.check(precision, device)
    if not kind.precisions[precision].calibrated:
        calibration = None
    elif calibration is None:
        raise UserError(f"{precision} takes its ranges from images: give some with --image")
    if None in shape and not kind.open_sizes:
        raise UserError(f"engine '{kind.backend}' is built for images of one size: {written(shape)} leaves it open")
    if None in shape and calibration is not None:
        raise UserError(f"{precision} is built for images of one size: {written(shape)} leaves it open")
    source = network
    if kind.takes == "graph":
        source = network if isinstance(network, Graph) else export(network, shape, kind.output, kind.formats[0])
        if source.format not in kind.formats:
            raise UserError(
                f"engine '{kind.backend}' reads {' and '.join(f'.{ending}' for ending in kind.formats)} files, not "
                f"{source.name}: choose {reference_for(source)}"
            )
        source.check(shape, source.output if kind.runs(source) else kind.output)
    elif isinstance(network, Graph):
        raise UserError(f"engine '{kind.backend}' runs PyTorch networks, not {network.name}: give the checkpoint")
    engine = kind.create(source, precision, shape, device, calibration)
    if not isinstance(engine, Engine):
        raise UserError(f"engine '{kind.backend}': `create` returned a {type(engine).__name__}, not an engine")
    engine.channels = network.card.channels
    return engine
