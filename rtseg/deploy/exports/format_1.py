"""ONNX files as rtseg wrote them before they had a proof: they still load."""

import hashlib
import json
from typing import Any

from rtseg.deploy.exports.description import KEY
from rtseg.deploy.graph import Graph, Output
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

_OUTPUTS: dict[str, Output] = {"logits": "logits", "class_map": "class_map"}


def read_format_1(model: bytes, proto: Any, said: dict[str, Any], name: str) -> Graph:
    """The graph of such a file.

    Args:
        model, proto: the file's bytes, and the same parsed.
        said: what the file says of itself.
        name: of the file, for errors.

    Raises:
        UserError: its description is damaged, or nodes or weights have changed.
    """
    try:
        batch, height, width = (side if side is None else int(side) for side in said["shape"])
        whole = said["graph"] == _digest(proto) and ("rest" not in said or said["rest"] == _rest_digest(proto, said))
        card, output = ModelCard.from_dict(said["card"]), _OUTPUTS[said["output"]]
        graph = Graph(model, card, str(said["weights"]), output, (batch, height, width), name=name)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: its description of the network is damaged ({error!r}): export it again") from None
    if not whole:
        raise UserError(f"{name} is not as it was written: nodes or weights have changed. Export it again")
    return graph


def _digest(proto: Any) -> str:
    """Digest of nodes and weights: no checker sees that a weight has changed."""
    return hashlib.sha256(proto.graph.SerializeToString(deterministic=True)).hexdigest()


def _rest_digest(proto: Any, said: dict[str, Any]) -> str:
    """Digest of what is beside the graph: the versions that its nodes belong to, and what is said of the network."""
    rest = type(proto)()
    rest.CopyFrom(proto)
    rest.ClearField("graph")
    rest.ClearField("metadata_props")
    others = [(entry.key, entry.value) for entry in proto.metadata_props if entry.key != KEY]
    text = json.dumps([others, {key: value for key, value in said.items() if key != "rest"}])
    return hashlib.sha256(rest.SerializeToString(deterministic=True) + text.encode()).hexdigest()
