"""A network as an exported graph, in any of the formats."""

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.onnx_file import build_onnx, onnx_model
from rtseg.deploy.exports.openvino_file import build_openvino
from rtseg.deploy.exports.program import trace
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.pt2_file import build_pt2
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.graph import Format, Graph, OpenShape, Output
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
    traced = trace(network, shape, output)
    weights = weights_hash(network)
    description = Description(network.card, weights, output, shape, traced.stride, proof=proof)
    beside = b""
    if format == "pt2":
        model = seal(build_pt2(traced.program, description.text("the archive's comment")))
    else:
        proto = onnx_model(traced, shape, output)
        if format == "onnx":
            model = build_onnx(proto, description)
        elif format == "xml":
            model, beside = build_openvino(proto.SerializeToString(), description.text(BLANK))
            model = seal(model, beside)
        else:
            text = description.text(BLANK, class_map="int32")  # MNN has no int64
            model = seal(convert_to_mnn(proto.SerializeToString(), text))
    return Graph(model, network.card, weights, output, shape, format=format, beside=beside)
