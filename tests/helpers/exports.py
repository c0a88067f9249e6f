"""Exported files with a proof, made of a graph that is there already: exporting takes seconds."""

from pathlib import Path

import onnx

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.onnx_file import build_onnx
from rtseg.deploy.exports.openvino_file import build_openvino
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.graph import Format, Graph
from rtseg.deploy.mnn_model import convert_to_mnn


def write_proven(
    folder: Path, graph: Graph, proof: Proof | None, format: Format = "onnx", precision: str = "fp32"
) -> Path:
    """An ONNX graph with another proof, as a file."""
    proto = onnx.load_model_from_string(graph.model)
    del proto.metadata_props[:]
    description = Description(graph.card, graph.weights, graph.output, graph.shape, 8, precision, proof)
    file = folder / f"net.{format}"
    if format == "onnx":
        file.write_bytes(build_onnx(proto, description))
    elif format == "mnn":
        file.write_bytes(seal(convert_to_mnn(proto.SerializeToString(), description.text(BLANK))))
    else:
        xml, weights = build_openvino(proto.SerializeToString(), description.text(BLANK))
        file.write_bytes(seal(xml, weights))
        file.with_suffix(".bin").write_bytes(weights)
    return file
