"""A network as an ONNX graph, in memory and as a file.

B batch, H, W image size, h, w the size of the logits, K classes.
"""

import re
from typing import Any

import numpy as np
import torch

from rtseg.deploy.exports.description import KEY, Description
from rtseg.deploy.exports.program import INPUT, OUTPUTS, Traced, quiet
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.graph import Graph, OpenShape, Output
from rtseg.errors import UserError, first_line, require

_AXES = ("batch", "height", "width")


def onnx_model(traced: Traced, shape: OpenShape, output: Output) -> Any:
    """The graph as a protobuf message, without a description.

    What the exporter notes of each node's origin is left out: it has paths of this machine.

    Raises:
        UserError: the exporter is not installed.
    """
    for library in ("onnx", "onnxscript"):
        require(library, "onnx")
    with quiet():
        written = torch.onnx.export(
            traced.program,
            (traced.images,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=list(OUTPUTS[output]),
        )
    assert written is not None
    proto = written.model_proto
    _forget_origin(proto)
    _name_sizes(proto.graph, shape)
    return proto


def _forget_origin(proto: Any) -> None:
    parts = [proto, proto.graph, *proto.functions, *proto.graph.node, *proto.graph.value_info, *proto.graph.input]
    parts += [*proto.graph.output, *proto.graph.initializer, *(node for f in proto.functions for node in f.node)]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _name_sizes(graph: Any, shape: OpenShape) -> None:
    """Calls the open sizes batch, height and width, of which the sizes of all maps are computed."""
    (put_in,) = graph.input
    dimensions = put_in.type.tensor_type.shape.dim
    names = {dimensions[i].dim_param: _AXES[i] for i, side in enumerate(shape) if side is None}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param:
                dimension.dim_param = re.sub(r"\w+", lambda word: names.get(word[0], word[0]), dimension.dim_param)


def build_onnx(proto: Any, description: Description) -> bytes:
    """The file's bytes, sealed. The message stays as it is."""
    described = type(proto)()
    described.CopyFrom(proto)
    described.metadata_props.add(key=KEY, value=description.text(BLANK))
    return seal(described.SerializeToString(deterministic=True))


def parse_onnx(model: bytes, name: str) -> Any:
    """The message of a whole file of finite weights.

    Args:
        name: of the file, for errors.

    Raises:
        UserError: ONNX is not installed; another kind of file, damaged, or with weights beside it.
    """
    onnx = require("onnx", "onnx")
    try:
        proto = onnx.load_model_from_string(model)
        _check_inside(proto, name)
        onnx.checker.check_model(proto)
    except UserError:
        raise
    except Exception as error:  # protobuf's and the checker's own, one for every kind of damage
        raise UserError(f"{name} is not a complete ONNX file ({first_line(error)}): export it again") from None
    return proto


def onnx_text(proto: Any) -> str | None:
    """What the file says of itself; None where it has no description."""
    return {entry.key: entry.value for entry in proto.metadata_props}.get(KEY)


def _check_inside(proto: Any, name: str) -> None:
    """Raises: UserError where the weights are in another file, or not finite."""
    onnx = require("onnx", "onnx")
    tensors = [*proto.graph.initializer, *(a.t for node in proto.graph.node for a in node.attribute if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise UserError(f"{name} keeps weights in another file, which `rtseg export` never does: export it again")
        if tensor.data_type == onnx.TensorProto.FLOAT and not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise UserError(
                f"{name}: its weights hold NaN or infinity ({tensor.name}): export it from another checkpoint"
            )


def check_onnx(proto: Any, graph: Graph) -> None:
    """Raises: UserError where what goes in and comes out is not what the file says of itself."""

    def sizes(values: Any) -> list[list[int | None]]:
        return [[side.dim_value or None for side in value.type.tensor_type.shape.dim] for value in values]

    put_in, put_out = sizes(proto.graph.input), sizes(proto.graph.output)
    batch, height, width = graph.shape
    if graph.output == "logits":
        fits = [len(out) for out in put_out] == [4] and put_out[0][::3] == [batch, graph.card.num_classes]
    else:
        fits = put_out == [[batch, height, width]] * len(OUTPUTS[graph.output])
    if put_in != [[batch, height, width, graph.card.in_channels]] or not fits:
        raise UserError(
            f"{graph.name} takes {put_in} and puts out {put_out}, but says that it takes {graph.shape} images and puts "
            f"out {graph.output} of {graph.card.num_classes} classes: export it again"
        )
