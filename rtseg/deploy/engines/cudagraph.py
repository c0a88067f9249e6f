"""PyTorch recorded as one CUDA graph."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from rtseg.deploy.engines.base import size_of
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.engines.torch_engine import TorchEngine
from rtseg.deploy.graph import Shape
from rtseg.deploy.pixels import example_input
from rtseg.models.network import Network


@register_engine("cudagraph")
class CudaGraph(TorchEngine):
    """As `eager`, recorded as one CUDA graph: one launch a frame instead of one a kernel. Not yet run on a GPU."""

    devices = ("cuda",)

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {"fp16": 3}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32", "fp16"]

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        super().__init__(precision, shape, device, network)
        self._images = example_input(network.card, shape, device)
        self._prepared = self.prepare(self._images)
        self._logits = _record(self.network.logits, self._prepared)
        size = size_of(self._images)
        self._run = _record(lambda images: self.classes(self.network.logits(self.prepare(images)), size), self._images)

    def logits(self, prepared: Tensor) -> Tensor:
        self._prepared.copy_(prepared)
        return self._logits()

    def run(self, images: Tensor) -> Tensor:
        self._images.copy_(images)
        return self._run()


@torch.inference_mode()
def _record(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Tensor]:
    """A function that replays `function(x)`; its result lies in the same memory every time."""
    with torch.cuda.device(x.device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # cuDNN chooses its algorithms and Triton compiles before the recording
            for _ in range(3):
                function(x)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = function(x)

    def replay() -> Tensor:
        with torch.cuda.device(x.device):
            graph.replay()
        return result

    return replay
