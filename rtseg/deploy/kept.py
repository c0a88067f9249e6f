"""What is kept in the user's cache because it takes long to make: choices of engines, and graphs of networks.

A cache that cannot be written to is no error: things are made again.
"""

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.graph import OPEN, Graph
from rtseg.errors import UserError
from rtseg.models.network import Network
from rtseg.models.weights import weights_hash
from rtseg.output.folders import make_folder, write_whole
from rtseg.paths import cache_folder

_MOST_GRAPHS = 16
_CODE = ("attention", "layers", "models", "deploy")  # the folders whose code makes a graph


def kept(name: str) -> Path | None:
    """The file that `keep` wrote under this name; None without one. It counts as used now."""
    file = cache_folder() / name
    if not file.is_file():
        return None
    with suppress(OSError):
        os.utime(file)
    return file


def keep(name: str, content: bytes, most: int) -> Path | None:
    """Writes a file below the cache, and removes those of its folder that were used longest ago.

    Args:
        name: folder/file.
        most: files that stay in the folder.

    Returns:
        The file; None where it cannot be written.
    """
    file = cache_folder() / name
    try:
        make_folder(file.parent)
        write_whole(file, content)
        others = sorted(file.parent.glob(f"*{file.suffix}"), key=lambda path: path.stat().st_mtime)
        for old in others[:-most]:
            old.unlink(missing_ok=True)
    except (UserError, OSError):
        return None
    return file


def open_graph(network: Network) -> Graph:
    """The graph of a network for images of any size, from the cache where it was exported before.

    Networks of plug-ins are exported each time: their code may have changed.

    Raises:
        UserError: see `export`.
    """
    name = f"graphs/{_graph_name(network)}.onnx"
    if not network.card.plugins and (file := kept(name)) is not None:
        with suppress(UserError):  # damaged: exported again
            return read_graph(file)
    graph = export(network, OPEN)
    if not network.card.plugins:
        keep(name, graph.model, _MOST_GRAPHS)
    return graph


def _graph_name(network: Network) -> str:
    """A digest of all that a graph depends on."""
    parts = (weights_hash(network), str(network.card), torch.__version__, _code_digest())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


@cache
def _code_digest() -> str:
    package = Path(__file__).parents[1]
    files = sorted(file for folder in _CODE for file in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()
