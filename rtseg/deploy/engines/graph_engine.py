"""Engines that read an exported graph."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from rtseg.deploy.engines.base import Engine
from rtseg.deploy.graph import Graph, OpenShape


class GraphEngine(Engine):
    """An engine that reads exported files. The graph normalises, so that `prepare` has nothing to do."""

    takes = "graph"

    @classmethod
    def create(
        cls, source: Graph, precision: str, shape: OpenShape, device: torch.device, calibration: Tensor | None = None
    ) -> Self:
        # An engine that takes no ranges from images needs only a constructor with the graph behind Engine's arguments.
        return cls(precision, shape, device, source)  # type: ignore[call-arg]

    @abstractmethod
    def infer(self, images: Tensor) -> Tensor:
        """What the graph puts out, or the first of it."""

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        """All that the graph puts out."""
        return [self.infer(images)]

    def logits(self, prepared: Tensor) -> Tensor:
        return self.infer(prepared).permute(0, 3, 1, 2)

    def stages(self, images: Tensor) -> dict[str, Callable[[], Any]]:
        stages = super().stages(images)
        del stages["normalize"]
        return {"normalize + network" if name == "network" else name: step for name, step in stages.items()}
