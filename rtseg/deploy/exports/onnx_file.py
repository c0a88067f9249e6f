"""A network as an ONNX graph: uint8 images in, logits or class maps out, and the description of the network inside.

B batch, H, W image size, h, w the size of the logits, K classes.
"""

import hashlib
import json
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rtseg.checks import check_whole
from rtseg.deploy.fuse import DeployedSegmenter, deploy
from rtseg.deploy.graph import Graph, OpenShape, Output
from rtseg.errors import UserError, first_line, require
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.output.folders import write_whole
from rtseg.output.json_file import parse_json
from rtseg.output.lock import locked_target
from rtseg.terminal import say

_OUTPUTS: dict[str, Output] = {"logits": "logits", "class_map": "class_map"}
_KEY = "rtseg"  # of the metadata
_LARGEST = 2**31  # bytes, of a protobuf message
_EXAMPLE = (2, 192, 256)  # what open dimensions are while the graph is traced: none of them 1, which would stay 1
_INPUT = "pictures"  # its name in every file that was ever written


class _Logits(nn.Module):
    """(B, H, W, 3) uint8 -> (B, h, w, K): the classes of a position side by side, as `class_map` wants them."""

    def __init__(self, network: DeployedSegmenter) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.logits(self.network.prepare(images)).permute(0, 2, 3, 1)


class _ClassMap(_Logits):
    """(B, H, W, 3) uint8 -> (B, H, W) int64."""

    def forward(self, images: Tensor) -> Tensor:
        logits = self.network.logits(self.network.prepare(images))
        return F.interpolate(logits, size=images.shape[1:3], mode="bilinear", align_corners=False).argmax(1)


def export(segmenter: Network, shape: OpenShape, output: Output = "logits") -> Graph:
    """The graph of a network in float32, BatchNorm folded, for images of `shape` = (B, H, W); None takes any.

    Raises:
        UserError: the exporter is not installed, or a size that the network does not take.
    """
    for library in ("onnx", "onnxscript"):
        require(library, "onnx")
    network = deploy(segmenter, memory_format=torch.contiguous_format).float().cpu()
    graph = (_Logits if output == "logits" else _ClassMap)(network).eval()
    example = (side or usual for side, usual in zip(shape, _EXAMPLE, strict=True))
    images = torch.zeros(*example, 3, dtype=torch.uint8)
    with torch.inference_mode():
        graph(images)  # a size that the network does not take is refused here, in its own words
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)  # PyTorch's loggers print whole graphs; what fails is raised
        try:
            program = torch.onnx.export(
                graph,
                (images,),
                dynamo=True,
                verbose=False,
                input_names=[_INPUT],
                output_names=[output],
                dynamic_shapes=(_open_dimensions(shape),),
            )
        finally:
            logging.disable(disabled)
    assert program is not None
    weights = weights_hash(segmenter)
    proto = program.model_proto
    description = {
        "card": segmenter.card.to_dict(), "weights": weights, "output": output, "shape": shape, "graph": _digest(proto)
    }  # fmt: skip
    description["rest"] = _rest_digest(proto, description)
    proto.metadata_props.add(key=_KEY, value=json.dumps(description))
    return Graph(proto.SerializeToString(), segmenter.card, weights, output, shape)


def _open_dimensions(shape: OpenShape) -> dict[int, torch.export.Dim]:
    """The dimensions of which the graph takes any number."""
    named = enumerate(zip(shape, ("batch", "height", "width"), strict=True))
    return {i: torch.export.Dim(name) for i, (side, name) in named if side is None}


def _digest(proto: Any) -> str:
    """Digest of nodes and weights: no checker sees that a weight has changed."""
    return hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()


def _rest_digest(proto: Any, description: dict[str, Any]) -> str:
    """Digest of what is beside the graph: the versions that its nodes belong to, and what is said of the network."""
    rest = type(proto)()
    rest.CopyFrom(proto)
    rest.ClearField("graph")
    rest.ClearField("metadata_props")
    others = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key != _KEY]
    text = json.dumps([others, {key: value for key, value in description.items() if key != "rest"}])
    return hashlib.sha256(rest.SerializeToString(deterministic=True) + text.encode()).hexdigest()


def export_file(checkpoint: str, file: Path, shape: tuple[int, int, int], output: Output = "logits") -> None:
    """Writes a checkpoint's graph, whole or not at all.

    Raises:
        UserError: see `Segmenter.from_pretrained`; a bad shape; the file exists, is no .onnx, cannot be written, or is
            just being written by another command.
    """
    if file.suffix != ".onnx":
        raise UserError(f"'{file}' must end in .onnx")
    for name, value in zip(("batch size", "height", "width"), shape, strict=True):
        check_whole(name, value, 1)
    with locked_target(file):
        if os.path.lexists(file):
            raise UserError(f"'{file}' exists; give another name, or remove it")
        segmenter = Segmenter.from_pretrained(checkpoint)
        graph = export(segmenter, shape, output)
        write_whole(file, graph.model)
    say(f"{file}: {segmenter.card.model}, {output}, {len(graph.model) / 2**20:.1f} MiB")
    put_out = "float32 logits, classes last" if output == "logits" else "int64 class numbers"
    say(f"In: uint8 {(*shape, 3)}, RGB, 0 to 255. Out: {put_out}. Code of your own: docs/deploy.md")
    say(f"Try: rtseg benchmark {file}")


def read_onnx(file: str | Path) -> Graph:
    """A graph that `export_file` wrote.

    Raises:
        UserError: no such file, damaged, or not written by this project.
    """
    file = Path(file)
    if not file.is_file():
        raise UserError(f"no such file: '{file}'")
    onnx = require("onnx", "onnx")
    if file.stat().st_size > _LARGEST:
        raise UserError(f"'{file}' has {file.stat().st_size} bytes, more than an ONNX file can: export it again")
    model = file.read_bytes()
    try:
        proto = onnx.load_model_from_string(model)
        _check_inside(proto, file)
        onnx.checker.check_model(proto)
    except UserError:
        raise
    except Exception as error:  # protobuf's and the checker's own, one for every kind of damage
        raise UserError(f"'{file}' is not a complete ONNX file ({first_line(error)}): export it again") from None
    found = {entry.key: entry.value for entry in proto.metadata_props}.get(_KEY)
    if found is None:
        raise UserError(
            f"'{file}' does not say which network it is: files of `rtseg export` do. Export the checkpoint with it"
        )
    try:
        description = parse_json(found, "the description")
        batch, height, width = (side if side is None else int(side) for side in description["shape"])
        whole = description["graph"] == _digest(proto) and (
            "rest" not in description or description["rest"] == _rest_digest(proto, description)
        )
        graph = Graph(
            model,
            ModelCard.from_dict(description["card"]),
            str(description["weights"]),
            _OUTPUTS[description["output"]],
            (batch, height, width),
            name=f"'{file}'",
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"'{file}': its description of the network is damaged ({error!r}): export it again") from None
    if not whole:
        raise UserError(f"'{file}' is not as it was written: nodes or weights have changed. Export it again")
    _check_said(proto, graph)
    return graph


def _check_inside(proto: Any, file: Path) -> None:
    """Raises: UserError where the weights are in another file, or not finite."""
    onnx = require("onnx", "onnx")
    tensors = [*proto.graph.initializer, *(a.t for node in proto.graph.node for a in node.attribute if a.HasField("t"))]
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise UserError(f"'{file}' keeps weights in another file, which `rtseg export` never does: export it again")
        if tensor.data_type == onnx.TensorProto.FLOAT and not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise UserError(
                f"'{file}': its weights hold NaN or infinity ({tensor.name}): export it from another checkpoint"
            )


def _check_said(proto: Any, graph: Graph) -> None:
    """Raises: UserError where what goes in and comes out is not what the file says of itself."""

    def sizes(values: Any) -> list[list[int | None]]:
        return [[side.dim_value or None for side in value.type.tensor_type.shape.dim] for value in values]

    put_in, put_out = sizes(proto.graph.input), sizes(proto.graph.output)
    batch, height, width = graph.shape
    fits = put_in == [[batch, height, width, 3]] and len(put_out) == 1
    if fits and graph.output == "class_map":
        fits = put_out == [[batch, height, width]]
    elif fits:
        fits = len(put_out[0]) == 4 and (put_out[0][0], put_out[0][3]) == (batch, graph.card.num_classes)
    if not fits:
        raise UserError(
            f"{graph.name} takes {put_in} and puts out {put_out}, but says that it takes {graph.shape} images and puts "
            f"out {graph.output} of {graph.card.num_classes} classes: export it again"
        )
