"""Running an exported file on this machine's engines, and comparing with what it proves itself with.

B batch, H, W image size.
"""

import math
from pathlib import Path

import numpy as np
import torch
from rich.text import Text

from rtseg.deploy.engines import Engine, GraphEngine, engine_classes, parse_backend, short_name
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.read import read_proven
from rtseg.deploy.graph import Format, Graph
from rtseg.errors import UserError
from rtseg.terminal import Console, say

_CPU = torch.device("cpu")


def verify_file(file: Path, backend: str | None = None) -> bool:
    """Says for each engine how many pixels are right; whether all were right enough.

    Args:
        backend: an engine; None takes all that are installed and read such files, less those that cannot run this one.

    Raises:
        UserError: see `read_graph`; the file has no proof; no engine is installed, or it cannot run the file.
    """
    graph, proof = read_proven(file)
    if proof is None:
        raise UserError(f"'{file}' has no proof, since an older rtseg exported it: export the checkpoint again")
    backends = [backend] if backend else engines_of(graph.format)
    say(f"{file}: whole. {graph.card.model}, {graph.output}; image: {proof.source}, {_size(proof)}")
    if proof.unseen:
        say(f"On this image some mistakes do not show: {', '.join(proof.unseen)}.")
    right = []
    for name in backends:
        try:
            right.append(_shown(name, graph, proof))
        except UserError as error:
            if len(backends) == 1:
                raise
            say(f"{name} does not run it: {error}")
    return bool(right) and all(right)


def engines_of(format: Format) -> list[str]:
    """The engines installed here that read a format, by name.

    Raises:
        UserError: there is none.
    """
    kinds = [kind for kind in engine_classes() if _reads(kind, format) and kind.output == "logits"]
    found, refusals = [], []
    for kind in kinds:
        precision = next(iter(kind.precisions))
        try:
            kind.check(precision, _CPU)
            found.append(short_name(kind, precision))
        except UserError as error:
            refusals.append(str(error))
    if not found:
        raise UserError(f"no engine for .{format} files here: {'; '.join(refusals)}")
    return found


def check_right(graph: Graph, proof: Proof) -> None:
    """Checks a graph, before it is written, on the first engine for its format.

    Raises:
        UserError: no engine is installed, or what it gives is not what PyTorch gives.
    """
    backend = engines_of(graph.format)[0]
    percent = equal_percent(backend, graph, proof)
    if percent < proof.least_equal_percent:
        raise UserError(
            f"the exported graph is wrong: on {backend} {percent:.2f} % of the pixels equal those of PyTorch, and "
            f"{proof.least_equal_percent} % must. Nothing was written; please report this network and its options"
        )


def equal_percent(backend: str, graph: Graph, proof: Proof) -> float:
    """Share of the proof's pixels that an engine gives the expected class. In a batch the image stands repeatedly, and
    the worst counts.

    Raises:
        UserError: the engine is not installed, reads no such files, or cannot run this one.
    """
    image = torch.from_numpy(proof.image)
    images = image.expand(graph.shape[0] or 1, *image.shape).contiguous()
    return min(proof.equal_percent(classes) for classes in run_graph(backend, graph, images)[0])


def run_graph(backend: str, graph: Graph, images: torch.Tensor) -> list[np.ndarray]:
    """Class maps (B, H, W), and behind them the margins where the graph puts them out.

    Args:
        images: (B, H, W, 3) uint8.

    Raises:
        UserError: see `equal_percent`.
    """
    kind, precision = parse_backend(backend)
    if not issubclass(kind, GraphEngine) or not _reads(kind, graph.format) or kind.precisions[precision].calibrated:
        raise UserError(
            f"engine '{backend}' does not run .{graph.format} files as they are: choose "
            f"{' or '.join(engines_of(graph.format))}"
        )
    kind.check(precision, _CPU)
    batch, height, width = images.shape[:3]
    engine = kind.create(graph, precision, (batch, height, width), _CPU, None)
    assert isinstance(engine, GraphEngine)
    with torch.inference_mode():
        outputs = [engine.run(images)] if graph.output == "logits" else engine.outputs(images)
    return [output.numpy() for output in outputs]


def _reads(kind: type[Engine], format: Format) -> bool:
    return kind.takes == "graph" and format in kind.formats


def _shown(backend: str, graph: Graph, proof: Proof) -> bool:
    kind, precision = parse_backend(backend)
    least = min(proof.least_equal_percent, kind.precisions[precision].least_equal_percent)
    percent = equal_percent(backend, graph, proof)
    right = percent >= least
    verdict = Text("right" if right else "WRONG", style="green" if right else "bold red")
    line = f", {_cut(percent)} % equal ({least} % needed)"
    Console().print(Text.assemble(f"{backend}: ", verdict, line), soft_wrap=True)
    return right


def _cut(percent: float) -> str:
    """Three decimals, not rounded: 100.000 means all pixels."""
    return f"{math.floor(percent * 1000) / 1000:.3f}"


def _size(proof: Proof) -> str:
    return "x".join(map(str, proof.class_map.shape))
