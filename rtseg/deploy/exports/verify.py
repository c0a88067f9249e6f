"""Running an exported file on this machine's engines, and comparing with what it proves itself with.

B batch, H, W image size.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.text import Text

from rtseg.deploy.engines import Engine, GraphEngine, engine_classes, parse_backend, short_name
from rtseg.deploy.engines.precision import Precision
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.read import read_proven
from rtseg.deploy.graph import Format, Graph
from rtseg.errors import UserError
from rtseg.terminal import Console, say

_CPU = torch.device("cpu")
_OTHERS = "take .onnx, .xml or .pt2 instead"


@dataclass(frozen=True)
class Agreement:
    """How an engine's results agree with a proof; of a batch the worst image counts.

    Attributes:
        equal_percent: of the pixels, how many have the expected class.
        error: of the samples, see `Samples.error`; None without samples.
        proof: with the tolerances for this engine.
    """

    equal_percent: float
    error: float | None
    proof: Proof

    @property
    def is_right(self) -> bool:
        samples = self.proof.samples
        holds = samples is None or self.error is None or self.error <= samples.most_error
        return self.equal_percent >= self.proof.least_equal_percent and holds

    def __str__(self) -> str:
        line = f"{_cut(self.equal_percent)} % equal ({self.proof.least_equal_percent} % needed)"
        if self.proof.samples is None or self.error is None:
            return line
        output, most = self.proof.samples.output, self.proof.samples.most_error
        return f"{line}, {output} off by {self.error:.1g} of the spread ({most:g} allowed)"


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
    found = [backend] if backend else engines_of(graph.format)
    backends = [name for name in found if backend or parse_backend(name)[0].reads(graph)]
    left_out = [name for name in found if name not in backends]
    if not backends:
        raise UserError(f"no engine for 8 bits in .{graph.format} files here: {', '.join(left_out)} run float32 alone")
    say(f"{file}: whole. {graph.card.model}, {graph.output}; image: {proof.source}, {_size(proof)}")
    if proof.unseen:
        say(f"On this image some mistakes do not show: {', '.join(proof.unseen)}.")
    if left_out:
        say(f"Left out: {', '.join(left_out)}, which {'do' if left_out[1:] else 'does'} not run graphs in 8 bits.")
    right = []
    for name in backends:
        try:
            right.append(_shown(name, graph, proof))
        except UserError as error:
            if backend:
                raise UserError(f"--engine {backend}: {error}") from None
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


def check_right(graph: Graph, proof: Proof) -> str:
    """Checks a graph, before it is written, on the first engine for its format.

    Returns:
        The engine, and how it agrees with plain PyTorch.

    Raises:
        UserError: no engine is installed, or what it gives is not what PyTorch gives.
    """
    backend = engines_of(graph.format)[0]
    found = agreement(backend, graph, proof)
    if found.is_right:
        return f"{found} on {backend}"
    if graph.format == "mnn":
        why = f"MNN's Winograd convolutions round more coarsely, for this network too coarsely: {_OTHERS}"
    else:
        why = "rounding does not explain it: take another format, and please report this network and its options"
    raise UserError(f"the exported graph differs from PyTorch: {found} on {backend}. Nothing was written; {why}")


def agreement(backend: str, graph: Graph, proof: Proof) -> Agreement:
    """Runs the proof's image on an engine; in a batch it stands repeatedly.

    Raises:
        UserError: the engine is not installed, reads no such files, or cannot run this one.
    """
    image = torch.from_numpy(proof.image)
    images = image.expand(graph.shape[0] or 1, *image.shape).contiguous()
    maps, *values = run_graph(backend, graph, images)
    percent = min(map(proof.equal_percent, maps))
    samples = proof.samples
    error = max(map(samples.error, values[0])) if samples and values else None
    kind, precision = parse_backend(backend)
    return Agreement(percent, error, _allowing(proof, kind, kind.precisions[precision]))


def _allowing(proof: Proof, kind: type[Engine], precision: Precision) -> Proof:
    """A proof with the tolerances of an engine, where they are wider: of its precision, and of the formats it reads."""
    for format in kind.formats:
        proof = proof.of_format(format)
    samples = proof.samples
    if samples:
        samples = replace(samples, most_error=max(samples.most_error, precision.most_logits_error))
    percent = min(proof.least_equal_percent, precision.least_equal_percent)
    return replace(proof, least_equal_percent=percent, samples=samples)


def run_graph(backend: str, graph: Graph, images: torch.Tensor) -> list[np.ndarray]:
    """Class maps (B, H, W), and behind them the logits (B, h, w, K) or margins (B, H, W), where the graph has them.

    Args:
        images: (B, H, W, 3) uint8.

    Raises:
        UserError: see `agreement`.
    """
    kind, precision = parse_backend(backend)
    if not issubclass(kind, GraphEngine) or not _reads(kind, graph.format) or kind.precisions[precision].calibrated:
        raise UserError(
            f"engine '{backend}' does not run .{graph.format} files as they are: choose one of "
            f"{', '.join(engines_of(graph.format))}"
        )
    kind.check(precision, _CPU)
    batch, height, width = images.shape[:3]
    engine = kind.create(graph, precision, (batch, height, width), _CPU, None)
    assert isinstance(engine, GraphEngine)
    with torch.inference_mode():
        if graph.output != "logits":
            return [output.numpy() for output in engine.outputs(images)]
        logits = engine.logits(engine.prepare(images))
        return [engine.classes(logits, (height, width)).numpy(), logits.permute(0, 2, 3, 1).numpy()]


def _reads(kind: type[Engine], format: Format) -> bool:
    return kind.takes == "graph" and format in kind.formats


def _shown(backend: str, graph: Graph, proof: Proof) -> bool:
    found = agreement(backend, graph, proof)
    right = found.is_right
    verdict = Text("right" if right else "WRONG", style="green" if right else "bold red")
    Console().print(Text.assemble(f"{backend}: ", verdict, f", {found}"), soft_wrap=True)
    return right


def _cut(percent: float) -> str:
    """Three decimals, not rounded: 100.000 means all pixels."""
    return f"{math.floor(percent * 1000) / 1000:.3f}"


def _size(proof: Proof) -> str:
    return "x".join(map(str, proof.class_map.shape))
