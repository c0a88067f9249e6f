"""A network as an exported graph, in any of the formats."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.export import ExportedProgram

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.onnx_file import build_onnx, onnx_model
from rtseg.deploy.exports.openvino_file import build_openvino
from rtseg.deploy.exports.program import trace
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.pt2_file import build_pt2
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.graph import CLASS_TYPES, Format, Graph, OpenShape, Output
from rtseg.deploy.mnn_model import convert_to_mnn
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash


def export(
    network: Network,
    shape: OpenShape,
    output: Output = "logits",
    format: Format = "onnx",
    proof: Proof | None = None,
) -> Graph:
    """A network's graph in float32, BatchNorm folded.

    Args:
        shape: (B, H, W) of the images; None takes any number.

    Raises:
        UserError: the exporter is not installed, or a size that the network does not take.
    """
    return next(exports(network, shape, output, (format,), proof))


def exports(
    network: Network, shape: OpenShape, output: Output, formats: Sequence[Format], proof: Proof | None = None
) -> Iterator[Graph]:
    """A network's graph in one format after the other, of one trace, which takes most of the time; see `export`."""
    traced = trace(network, shape, output)
    weights = weights_hash(network)
    proto = onnx_model(traced, shape, output) if set(formats) - {"pt2"} else None
    for format in formats:
        own = proof and proof.of_format(format)
        description = Description(network.card, weights, output, shape, traced.stride, proof=own)
        model, beside = _file(traced.program, proto, description, format)
        yield Graph(model, network.card, weights, output, shape, format=format, beside=beside)


def _file(program: ExportedProgram, proto: Any, description: Description, format: Format) -> tuple[bytes, bytes]:
    """A file's bytes, sealed, and those of the file beside it."""
    if format == "pt2":
        return seal(build_pt2(program, description.text("the archive's comment"))), b""
    if format == "mnn":
        text = description.text(BLANK, class_map=CLASS_TYPES[format])
        return seal(convert_to_mnn(proto.SerializeToString(), text)), b""
    if format == "xml":
        model, beside = build_openvino(proto.SerializeToString(), description.text(BLANK))
        return seal(model, beside), beside
    return build_onnx(proto, description), b""
