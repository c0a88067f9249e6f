"""The graph of a network for images of any size, which is exported once and then kept in the user's cache."""

import hashlib
from contextlib import suppress

import torch

from rtseg.deploy.cache import alone, keep, kept
from rtseg.deploy.code_digest import code_of
from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.graph import OPEN, Graph
from rtseg.errors import UserError
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash
from rtseg.terminal import say

_MOST_GRAPHS = 16


def open_graph(network: Network) -> Graph:
    """The graph of a network for images of any size, from the cache where it was exported before.

    Raises:
        UserError: see `export`.
    """
    code = code_of(network)
    if code is None:
        return _exported(network)
    parts = (weights_hash(network), str(network.card), torch.__version__, code)
    name = f"graphs/{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}.onnx"
    if (graph := _read(name)) is not None:
        return graph
    with alone(name, "exports this network"):
        if (graph := _read(name)) is not None:  # another process has just exported it
            return graph
        graph = _exported(network)
        keep(name, graph.model, _MOST_GRAPHS)
    return graph


def _read(name: str) -> Graph | None:
    if (file := kept(name)) is not None:
        with suppress(UserError, OSError):  # damaged, or removed meanwhile: exported again
            return read_graph(file)
    return None


def _exported(network: Network) -> Graph:
    say(f"{network.card.model}: exporting the network, once", stderr=True)
    return export(network, OPEN)
