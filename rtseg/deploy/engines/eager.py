"""PyTorch, its kernels called one by one."""

from collections.abc import Sequence

import torch

from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.engines.torch_engine import TorchEngine


@register_engine("eager")
class Eager(TorchEngine):
    """PyTorch, BatchNorm folded, channels-last, then `class_map`."""

    launches_kernels = True
    open_sizes = True

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32", "fp16"] if device.type == "cuda" else ["fp32"]
