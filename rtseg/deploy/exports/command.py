"""`rtseg export`: a checkpoint becomes a file that runs elsewhere and proves that it is right."""

import os
from contextlib import ExitStack
from pathlib import Path

from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.input_size import shape_for
from rtseg.deploy.exports.int8 import QUANTIZERS, Int8, export_int8
from rtseg.deploy.exports.program import output_named
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.read import FORMATS
from rtseg.deploy.exports.verify import check_right, engines_of
from rtseg.deploy.graph import CLASS_TYPES, OPEN, Format, Graph, OpenShape
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.output.folders import written_whole
from rtseg.output.lock import locked_target
from rtseg.terminal import say

_GIVES = {
    "logits": "float32 logits, classes last",
    "class_map": "{} class numbers",
    "class_map_margin": "{} class numbers, and float32 margins",
}


def export_file(
    checkpoint: str,
    file: Path,
    shape: OpenShape | int = OPEN,
    result: str = "logits",
    image: Path | None = None,
    int8: Int8 | None = None,
) -> None:
    """Writes a checkpoint's graph, whole and right, or not at all.

    Args:
        file: its ending is the format.
        shape: see `shape_for`.
        result: see `Graph.output`.
        image: to prove the file with; a street is drawn otherwise.
        int8: for a file in 8 bits.

    Raises:
        NotWorthError: see `export_int8`.
        UserError: see `Segmenter.from_pretrained`, `export` and `check_right`; a bad shape; the file exists, has
            another ending, cannot be written, or is just being written by another command.
    """
    kind = FORMATS.get(file.suffix)
    if kind is None:
        raise UserError(f"'{file}' must end in {', '.join(FORMATS)}")
    output = output_named(result)
    given = (shape,) if isinstance(shape, int) else shape
    for option, sides in (("--batch-size", given[:1]), ("--input-size", given[1:])):
        if any(side is not None and side < 1 for side in sides):
            raise UserError(f"{option} {' '.join(map(str, sides))}: whole numbers of at least 1 are needed")
    if int8 and (kind not in QUANTIZERS or output != "logits"):
        raise UserError(
            f"'{file}' with {output}: --int8 writes .onnx, for ONNX Runtime, and .xml, for OpenVINO, both with logits; "
            "elsewhere 8 bits do not pay (docs/deploy.md)"
        )
    with locked_target(file):
        for path in _files(file, kind):
            if os.path.lexists(path):
                raise UserError(f"'{path}' exists; give another name, or remove it")
        engines_of(kind)
        segmenter = Segmenter.from_pretrained(checkpoint)
        shape = shape_for(shape, segmenter.card)
        if int8:
            graph, proof = export_int8(segmenter, shape, kind, int8, image)
        else:
            proof = prove(segmenter, shape, image, output=output).of_format(kind)
            graph = export(segmenter, shape, output, kind, proof)
        right = check_right(graph, proof)
        write_graph(file, graph)
    say(f"{file}: {segmenter.card.model}, {output}, {(len(graph.model) + len(graph.beside)) / 2**20:.1f} MiB")
    names = ("any batch", "any height", "any width")
    size = ", ".join(name if side is None else str(side) for name, side in zip(names, shape, strict=True))
    gives = _GIVES[output].format(CLASS_TYPES[kind])
    card = segmenter.card
    taken = f"uint8 ({size}, 3), RGB" if card.channels is None else f"float32 ({size}, {card.channels}), grey levels"
    say(f"In: {taken}, 0 to 255. Out: {gives}. Programs: docs/run-it-elsewhere.md")
    mistakes = f"; it does not show: {', '.join(proof.unseen)}" if proof.unseen else ""
    say(f"Proof: {proof.source}, {right}{mistakes}. Check it anywhere: rtseg verify {file}")
    say(f"Try: rtseg benchmark {file}")


def write_graph(file: Path, graph: Graph) -> None:
    """Writes a graph's files, none of which is there, whole, or none; the one that says what all are last."""
    files = _files(file, graph.format)
    try:
        with ExitStack() as opened:
            asides = [opened.enter_context(written_whole(path)) for path in files]
            for aside, content in zip(asides, (graph.model, graph.beside), strict=False):
                aside.write_bytes(content)
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        raise


def _files(file: Path, kind: Format) -> list[Path]:
    """The file, and the one that belongs to it."""
    return [file, file.with_suffix(".bin")] if kind == "xml" else [file]
