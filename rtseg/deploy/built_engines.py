"""The engines that are built for a network, of which few are kept."""

import threading
from collections import OrderedDict
from collections.abc import Collection

import torch

from rtseg.deploy.engines import Engine, create_engine, parse_backend
from rtseg.deploy.graph import Graph, OpenShape, Shape
from rtseg.deploy.open_graph import open_graph
from rtseg.models.network import Network

_MOST = 4  # engines of one size each that are kept; of those for any size there is one

_parents: list[object] = []  # engines of the process that was forked: ending them would wait for threads that are gone


class _Source:
    """What engines are built of, one at a time.

    Attributes:
        given: a network, or an exported file.
    """

    def __init__(self, given: Network | Graph) -> None:
        self.given = given
        self.building = threading.Lock()
        self._graph = given if isinstance(given, Graph) else None

    def graph(self) -> Graph:
        """For images of any size; a network is exported when this is first asked for."""
        if self._graph is None:
            assert not isinstance(self.given, Graph)
            self._graph = open_graph(self.given)
        return self._graph


class BuiltEngines:
    """Builds engines when they are first asked for. Those for images of any size share one exported graph.

    Args:
        source: a network, or an exported file.
        shape: (B, h, w) of the images that it takes; None where it takes any number.
        device: where they run.
    """

    def __init__(self, source: Network | Graph, shape: OpenShape, device: torch.device) -> None:
        self._source, self._shape, self._device = _Source(source), shape, device
        self._engines: OrderedDict[tuple[str, OpenShape], Engine] = OrderedDict()

    def names(self) -> list[tuple[str, OpenShape]]:
        """The engines that are kept, and the shape of images that each is for; the one that was used last is last."""
        return list(self._engines)

    def get(self, name: str, shape: Shape) -> Engine:
        """The engine for images of this (B, h, w). Of engines of one size each, those used last are kept.

        Raises:
            UserError: see `create_engine`.
        """
        kind, _ = parse_backend(name)
        key: tuple[str, OpenShape] = (name, self._shape if kind.open_sizes else shape)
        if key not in self._engines:
            shared = kind.open_sizes and kind.takes == "graph" and kind.output == "logits" and "onnx" in kind.formats
            with self._source.building:
                source = self._source.graph() if shared else self._source.given
                self._engines[key] = create_engine(name, source, key[1], device=self._device)
            closed = [one for one in self._engines if None not in one[1]]
            for old in closed[:-_MOST]:
                del self._engines[old]
        self._engines.move_to_end(key)
        return self._engines[key]

    def keep(self, names: Collection[str]) -> None:
        """Ends all engines of other names."""
        self._engines = OrderedDict((key, engine) for key, engine in self._engines.items() if key[0] in names)

    def beside(self) -> "BuiltEngines":
        """Engines of the same source for another thread; none is built yet, and both build one at a time."""
        other = BuiltEngines(self._source.given, self._shape, self._device)
        other._source = self._source
        return other

    def leave_to_parent(self) -> None:
        """In a process that was forked: none is built yet. The graph stays."""
        _parents.append(self._engines)
        self._engines = OrderedDict()
        self._source.building = threading.Lock()  # a thread of the parent may have held it
