"""Engines that read an exported graph."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from rtseg.deploy.engines.base import Engine


class GraphEngine(Engine):
    """An engine that reads exported files. The graph normalises, so that `prepare` has nothing to do."""

    takes = "graph"

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
