"""Exported files, read: what is damaged, of another program or of a newer version is one sentence, and no code runs."""

from pathlib import Path
from typing import Any, get_args

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.format_1 import read_format_1
from rtseg.deploy.exports.onnx_file import check_onnx, onnx_text, parse_onnx
from rtseg.deploy.exports.openvino_file import openvino_text
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.pt2_file import pt2_text
from rtseg.deploy.exports.seal import is_sealed, is_whole
from rtseg.deploy.graph import Format, Graph
from rtseg.deploy.mnn_model import mnn_description
from rtseg.errors import UserError
from rtseg.output.json_file import parse_json

FORMATS: dict[str, Format] = {f".{ending}": ending for ending in get_args(Format)}
_LARGEST = 2**31  # bytes, of a protobuf message


def read_graph(file: str | Path) -> Graph:
    """A graph that `rtseg export` wrote.

    Raises:
        UserError: no such file, damaged, not written by this project, or by a newer version of it.
    """
    return read_proven(file)[0]


def read_proven(file: str | Path) -> tuple[Graph, Proof | None]:
    """A graph, and what it proves itself with: None in files of before there were proofs.

    Raises:
        UserError: see `read_graph`.
    """
    file = Path(file)
    name = f"'{file}'"
    kind = FORMATS.get(file.suffix.lower())
    if not file.is_file():
        raise UserError(f"no such file: {name}")
    if kind is None:
        raise UserError(f"{name} is no export: `rtseg export` writes {', '.join(FORMATS)}")
    model = _bytes(file)
    weights = file.with_suffix(".bin")
    if kind == "xml" and not weights.is_file():
        raise UserError(f"no such file: '{weights}', which belongs to {name}: copy both")
    beside = _bytes(weights) if kind == "xml" else b""
    sealed = is_sealed(model)
    if sealed:  # before anything is parsed: what a damaged file says is not true
        _check_whole(kind, model, beside, name)
    proto = parse_onnx(model, name) if kind == "onnx" else None
    said = _description(kind, model, proto, name)
    if kind == "onnx" and isinstance(said, dict) and "format" not in said and not sealed:
        graph, proof = read_format_1(model, proto, said, name), None
    else:
        description = Description.read(said, name)
        if not sealed:
            _check_whole(kind, model, beside, name)
        graph = Graph(
            model,
            description.card,
            description.weights,
            description.output,
            description.shape,
            name,
            kind,
            beside,
            description.precision,
        )
        proof = description.proof
    if kind == "onnx":
        check_onnx(proto, graph)
    return graph, proof


def _check_whole(kind: Format, model: bytes, beside: bytes, name: str) -> None:
    """Raises: UserError where the seal is broken, or missing."""
    if not is_whole(model, beside):
        files = f"{name} and its .bin are" if kind == "xml" else f"{name} is"
        raise UserError(f"{files} not as written: nodes, weights or what it says have changed. Export it again")


def _bytes(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST:
        raise UserError(f"'{file}' has {file.stat().st_size} bytes, more than an export can: export it again")
    return file.read_bytes()


def _description(kind: Format, model: bytes, proto: Any, name: str) -> Any:
    """What the file says of itself, JSON of any kind.

    Raises:
        UserError: there is none, or it is no JSON.
    """
    if kind == "onnx":
        text = onnx_text(proto)
    else:
        text = {"xml": openvino_text, "mnn": mnn_description, "pt2": pt2_text}[kind](model)
    if not text:
        raise UserError(
            f"{name} does not say which network it is, as files of `rtseg export` do: it is another program's, "
            "damaged, cut off or renamed. Export the checkpoint again"
        )
    try:
        return parse_json(text, "it")
    except UserError as error:
        raise UserError(f"{name}: its description of the network is damaged ({error}): export it again") from None
