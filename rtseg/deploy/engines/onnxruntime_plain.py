"""ONNX Runtime as others export for it: the class map is made inside the graph."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from rtseg.deploy.engines.base import register_engine
from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.errors import UserError


@register_engine
class OnnxRuntimePlain(OnnxRuntime):
    """Upsampling and argmax are part of the graph: what an export of the whole network gives elsewhere."""

    backend = "onnxruntime-plain"
    output = "class_map"
    has_logits = False

    def _class_map_kind(self) -> str:
        return "in the graph"

    def logits(self, prepared: Tensor) -> Tensor:
        raise UserError(f"the graph of '{self.backend}' puts out class maps alone")

    def run(self, pictures: Tensor) -> Tensor:
        return self._infer(pictures)

    def stages(self, pictures: Tensor) -> dict[str, Callable[[], Any]]:
        return {"normalize + network + upsample + argmax": lambda: self.run(pictures)}
