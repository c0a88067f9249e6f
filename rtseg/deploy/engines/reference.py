"""PyTorch as most repositories run it, which every other engine is compared with."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from rtseg.deploy.engines.base import size_of
from rtseg.deploy.engines.precision import FP32, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.engines.torch_engine import TorchEngine


@register_engine("reference")
class Reference(TorchEngine):
    """Plain PyTorch, as most repositories run it: nothing folded, NCHW, interpolate and argmax over all classes."""

    precisions = by_name(FP32)
    is_reference = True
    launches_kernels = True
    open_sizes = True
    memory_format = "contiguous_format"
    fold = False

    def _class_map_kind(self) -> str:
        return "interpolate and argmax"

    def _upsample(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)

    def classes(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        return self._upsample(logits, size).argmax(1)

    def stages(self, images: Tensor) -> dict[str, Callable[[], Any]]:
        stages = super().stages(images)
        logits = self.logits(self.prepare(images))
        size = size_of(images)
        upsampled = self._upsample(logits, size)
        del stages["class map"]
        return {**stages, "upsample": lambda: self._upsample(logits, size), "argmax": lambda: upsampled.argmax(1)}
