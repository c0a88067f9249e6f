"""Engines that run the network in PyTorch itself."""

from typing import ClassVar

import torch
from torch import Tensor

from rtseg.deploy.engines.base import DTYPES, Engine, Shape
from rtseg.deploy.fuse import DeployedSegmenter, count_batchnorm, deploy
from rtseg.models.network import Network


class TorchEngine(Engine):
    """Runs the network in PyTorch: folded and in a memory format as its subclass says."""

    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16", "fp16")
    device_types: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps")
    memory_format: ClassVar[str] = "channels_last"
    fold: ClassVar[bool] = True

    def __init__(self, precision: str, shape: Shape, device: torch.device, network: Network) -> None:
        memory_format = getattr(torch, self.memory_format)
        self.network: DeployedSegmenter = deploy(network, memory_format=memory_format, fold=self.fold)
        left = count_batchnorm(self.network)
        batchnorm = f"folded, but for {left}" if self.fold else "as trained"
        super().__init__(
            precision, shape, device, torch=torch.__version__, memory_format=self.memory_format, batchnorm=batchnorm
        )
        self.network.segmenter.to(device=device, dtype=DTYPES[precision])
        self.network.normalize.to(device)

    def prepare(self, pictures: Tensor) -> Tensor:
        return self.network.prepare(pictures)

    def logits(self, prepared: Tensor) -> Tensor:
        return self.network.logits(prepared)
