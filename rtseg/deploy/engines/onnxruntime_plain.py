"""ONNX Runtime as others export for it: the class map is made inside the graph."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.deploy.engines.registry import register_engine
from rtseg.errors import UserError


@register_engine("onnxruntime-plain")
class OnnxRuntimePlain(OnnxRuntime):
    """ONNX Runtime, upsampling and argmax in the graph, as others export it."""

    output = "class_map"

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32"] if device.type == "cpu" else []

    def _class_map_kind(self) -> str:
        return "in the graph"

    def logits(self, prepared: Tensor) -> Tensor:
        raise UserError(f"the graph of '{self.backend}' gives class maps only")

    def run(self, images: Tensor) -> Tensor:
        return self.infer(images)

    def stages(self, images: Tensor) -> dict[str, Callable[[], Any]]:
        return {"normalize + network + upsample + argmax": lambda: self.run(images)}
