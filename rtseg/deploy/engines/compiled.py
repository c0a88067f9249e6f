"""PyTorch through torch.compile."""

import importlib.util
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.engines.torch_engine import TorchEngine
from rtseg.deploy.graph import Shape
from rtseg.deploy.pixels import example_input
from rtseg.errors import UserError
from rtseg.models.network import Network


@register_engine("compile")
class Compiled(TorchEngine):
    """As `eager`, through `torch.compile`, which takes a quarter of a minute or more; on a CPU it needs a C++ compiler.

    C++ on a CPU, Triton and CUDA graphs on a GPU. Weights are frozen: laid out once as the kernels read them.
    """

    devices = ("cpu", "cuda")

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp16"] if device.type == "cuda" else []  # compiling on a CPU takes too long to be done unasked

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        if device.type == "cuda" and importlib.util.find_spec("triton") is None:
            raise UserError("engine 'compile' needs Triton on CUDA, and it is not here: pip install triton")
        compiler = shlex.split(os.environ.get("CXX") or "g++")[0]
        if device.type == "cpu" and shutil.which(compiler) is None:
            raise UserError(
                f"engine 'compile' needs a C++ compiler, and '{compiler}' is not here: apt-get install g++, or set CXX"
            )

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        super().__init__(precision, shape, device, network)
        options: dict[str, Any] = {"triton.cudagraphs": True} if device.type == "cuda" else {}
        self._compiled = torch.compile(_alone(self.network.logits), dynamic=False, options=options)
        # As an option freezing would come too late: that weights are constants is decided before options are read.
        with torch.inference_mode(), torch._inductor.config.patch(freezing=True):
            self._compiled(self.prepare(example_input(network.card, shape, device)))

    def logits(self, prepared: Tensor) -> Tensor:
        return self._compiled(prepared)


def _alone(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The same as a function with code of its own: what is compiled is kept with the code, a few versions of it, and
    the sizes and networks after these would silently run uncompiled.
    """

    def logits(prepared: Tensor) -> Tensor:
        return function(prepared)

    return FunctionType(logits.__code__.replace(), logits.__globals__, closure=logits.__closure__)
