"""Engines that read an exported graph."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from rtseg.deploy.engines.base import Engine
from rtseg.deploy.graph import Graph, OpenShape, Output
from rtseg.errors import UserError
from rtseg.models.network import Network


class GraphEngine(Engine):
    """An engine that reads exported files. The graph normalises, so that `prepare` has nothing to do.

    Attributes:
        any_output: whether it runs files of class maps and of margins too, not of its `output` alone.
        puts_out: what its graph puts out.
    """

    takes = "graph"
    any_output: ClassVar[bool] = False

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, **description: Any) -> None:
        super().__init__(precision, shape, device, **description)
        self.puts_out: Output = self.output

    @classmethod
    def create(
        cls, source: Graph, precision: str, shape: OpenShape, device: torch.device, calibration: Tensor | None = None
    ) -> Self:
        # An engine that takes no ranges from images needs only a constructor with the graph behind Engine's arguments.
        return cls(precision, shape, device, source)._of(source)  # type: ignore[call-arg]

    def _of(self, graph: Graph) -> Self:
        """The same engine, which notes what its graph puts out."""
        self.puts_out = graph.output
        if not self.has_logits:
            self.description["class_map"] = "in the graph"
        return self

    @classmethod
    def runs(cls, network: Network | Graph) -> bool:
        if isinstance(network, Graph) and cls.any_output:
            return cls.reads(network)
        return super().runs(network)

    @property
    def has_logits(self) -> bool:
        return self.puts_out == "logits"

    @abstractmethod
    def infer(self, images: Tensor) -> Tensor:
        """What the graph puts out, or the first of it."""

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        """All that the graph puts out."""
        return [self.infer(images)]

    def logits(self, prepared: Tensor) -> Tensor:
        if not self.has_logits:
            raise UserError(f"the graph of '{self.backend}' gives class maps only")
        return self.infer(prepared).permute(0, 3, 1, 2)

    def run(self, images: Tensor) -> Tensor:
        return super().run(images) if self.has_logits else self.infer(images)

    def stages(self, images: Tensor) -> dict[str, Callable[[], Any]]:
        if not self.has_logits:
            return {"normalize + network + upsample + argmax": lambda: self.run(images)}
        stages = super().stages(images)
        del stages["normalize"]
        return {"normalize + network" if name == "network" else name: step for name, step in stages.items()}
