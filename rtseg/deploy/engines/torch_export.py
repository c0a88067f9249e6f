"""PyTorch's exported programs."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import FP32, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.exports.pt2_file import load_pt2
from rtseg.deploy.graph import Graph, OpenShape


@register_engine("torch-export")
class TorchExport(GraphEngine):
    """A network's exported program (.pt2) in PyTorch, then `class_map`: for programs without rtseg, not for speed."""

    precisions = by_name(FP32)
    formats = ("pt2",)
    devices = ("cpu",)
    open_sizes = True
    any_output = True
    libraries: ClassVar[Mapping[str, str]] = {"torch": "rtseg"}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return []

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, graph: Graph) -> None:
        self._module = load_pt2(graph.model, graph.name).module()
        super().__init__(precision, shape, device)

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        given = self._module(images)
        return [given] if isinstance(given, Tensor) else list(given)

    def infer(self, images: Tensor) -> Tensor:
        return self.outputs(images)[0]
