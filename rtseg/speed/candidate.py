"""What is measured: networks, and the engines and sizes for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rtseg.checks import check_whole
from rtseg.deploy.engines import Engine, Shape, parse_backend
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import Format, Graph, Output, fits, written
from rtseg.errors import UserError
from rtseg.models.network import Network
from rtseg.speed.conditions import Conditions
from rtseg.speed.report import UNTRAINED, network_name


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network to be measured, and what its weights are.

    Attributes:
        network: a segmenter, a network of another library or of your own, or an exported graph.
        weights: their hash, or `UNTRAINED`.
        trained: whether the class maps mean something, so that engines are compared by them.
        file: the file or folder that it was read from, as short as tells it from others; empty where there is none.
    """

    network: Network | Graph
    weights: str = UNTRAINED
    trained: bool = False
    file: str = ""

    @property
    def name(self) -> str:
        """Model and attention."""
        card = self.network.card
        return network_name(card.model, card.attention, card.insert)

    def source(self, kind: type[Engine], shape: Shape) -> Network | Graph:
        """What an engine of this class is built of."""
        return self.graph(shape, kind.output, kind.formats[0]) if kind.takes == "graph" else self.network

    def graph(self, shape: Shape, output: Output, format: Format = "onnx") -> Graph:
        """Exported once for each shape, output and format."""
        if isinstance(self.network, Graph):
            return self.network
        if (shape, output, format) not in self._graphs:
            self._graphs[shape, output, format] = export(self.network, shape, output, format)
        return self._graphs[shape, output, format]

    @cached_property  # fills the dictionary of a frozen instance, which is not compared by value
    def _graphs(self) -> dict[tuple[Shape, Output, Format], Graph]:
        return {}


@dataclass(frozen=True)
class Case:
    """One row to be measured: a network on an engine, with images of one shape."""

    candidate: Candidate
    backend: str
    shape: Shape

    def __post_init__(self) -> None:
        for name, value in zip(("batch size", "height", "width"), self.shape, strict=True):
            check_whole(name, value, 1)


def cases(candidates: Iterable[Candidate], backends: Sequence[str], conditions: Conditions) -> list[Case]:
    """All combinations, each once; of an exported graph only those that it can run.

    Raises:
        UserError: an exported graph and none of its backends or sizes.
    """
    found: dict[Any, Case] = {}
    for candidate in candidates:
        own = [Case(candidate, backend, shape) for shape in conditions.shapes for backend in backends]
        if isinstance(graph := candidate.network, Graph):
            own = [c for c in own if parse_backend(c.backend)[0].runs(graph) and fits(graph.shape, c.shape)]
            if not own:
                raise UserError(
                    f"{graph.name} is of {written(graph.shape)} (batch x height x width) and puts out {graph.output}: "
                    "ask for this --input-size and --batch-size, and for a backend that reads such files"
                )
        for case in own:
            found.setdefault((id(candidate), parse_backend(case.backend), case.shape), case)
    return list(found.values())


def files(candidates: Iterable[Candidate]) -> dict[int, str]:
    """id of a candidate -> its file; candidates that would share name and file are numbered."""
    named: dict[tuple[str, str], dict[int, Candidate]] = {}
    for candidate in candidates:
        named.setdefault((candidate.name, candidate.file), {})[id(candidate)] = candidate
    found = {}
    for (_, file), own in named.items():
        for number, key in enumerate(own, 1):
            found[key] = f"{file} no. {number}".strip() if len(own) > 1 else file
    return found


def short_paths(paths: Sequence[str]) -> list[str]:
    """The shortest end of each path that no other path has: "a/best.ckpt", "b/best.ckpt", "net.onnx"."""
    parts = [Path(path).parts or (path,) for path in paths]
    ends = [[own[-k:] for k in range(1, len(own) + 1)] for own in parts]
    found = []
    for i, own in enumerate(ends):
        others = {end for j, others in enumerate(ends) if parts[j] != parts[i] for end in others}
        found.append("/".join(next((end for end in own if end not in others), own[-1])))
    return found
