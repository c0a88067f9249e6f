"""ONNX Runtime as others export for it: the class map is made inside the graph."""

from collections.abc import Mapping, Sequence

import torch

from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.deploy.engines.registry import register_engine


@register_engine("onnxruntime-plain")
class OnnxRuntimePlain(OnnxRuntime):
    """ONNX Runtime, upsampling and argmax in the graph, as others export it."""

    output = "class_map"
    any_output = False

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32"] if device.type == "cpu" else []
