"""Engines that run the network in PyTorch itself."""

from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from rtseg.deploy.engines.base import Engine
from rtseg.deploy.engines.precision import BF16, FP16, FP32, by_name
from rtseg.deploy.fuse import DeployedSegmenter, count_batchnorm, deploy
from rtseg.deploy.graph import OpenShape
from rtseg.models.network import Network


class TorchEngine(Engine):
    """Runs the network in PyTorch: folded and in a memory format as its subclass says."""

    precisions = by_name(FP32, BF16, FP16)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps")
    takes = "network"
    libraries: ClassVar[Mapping[str, str]] = {"torch": "rtseg"}
    memory_format: ClassVar[str] = "channels_last"
    fold: ClassVar[bool] = True

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, network: Network) -> None:
        memory_format = getattr(torch, self.memory_format)
        self.network: DeployedSegmenter = deploy(network, memory_format=memory_format, fold=self.fold)
        left = count_batchnorm(self.network)
        batchnorm = f"folded, but for {left}" if self.fold else "as trained"
        super().__init__(precision, shape, device, memory_format=self.memory_format, batchnorm=batchnorm)
        self.network.segmenter.to(device=device, dtype=self.precisions[precision].dtype)
        self.network.normalize.to(device)

    @classmethod
    def create(
        cls, source: Network, precision: str, shape: OpenShape, device: torch.device, calibration: Tensor | None = None
    ) -> Self:
        return cls(precision, shape, device, source)

    def prepare(self, images: Tensor) -> Tensor:
        return self.network.prepare(images)

    def logits(self, prepared: Tensor) -> Tensor:
        return self.network.logits(prepared)
