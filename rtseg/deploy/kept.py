"""What is kept in the user's cache because it takes long to make: choices of engines, and graphs of networks.

A cache that cannot be written to is no error: things are made again.
"""

import hashlib
import os
import re
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
from rtseg.terminal import say

_MOST_GRAPHS = 16
_CODE = ("attention", "layers", "models", "deploy")  # the folders whose code makes a graph
_OURS = re.compile(rf"torch\.|rtseg\.({'|'.join(_CODE)})\b")  # modules whose changes are noticed


def kept(name: str) -> Path | None:
    """The file that `keep` wrote under this name; None without one. It counts as used now."""
    file = cache_folder() / name
    if not os.path.isfile(file):  # False also where the system refuses
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

    Raises:
        UserError: see `export`.
    """
    code = code_of(network)
    if code is None:
        return _exported(network)
    parts = (weights_hash(network), str(network.card), torch.__version__, code)
    name = f"graphs/{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}.onnx"
    if (file := kept(name)) is not None:
        with suppress(UserError, OSError):  # damaged, or removed meanwhile: exported again
            return read_graph(file)
    graph = _exported(network)
    keep(name, graph.model, _MOST_GRAPHS)
    return graph


def _exported(network: Network) -> Graph:
    say(f"{network.card.model}: exporting the network, once", stderr=True)
    return export(network, OPEN)


def code_of(network: Network) -> str | None:
    """A digest of the code that makes the network's graph.

    None where some of it is not rtseg's, as in a plug-in or a notebook: what was made of it earlier is not used again,
    since that code may have changed.
    """
    places = {type(module).__module__ for module in network.modules()}
    return None if network.card.plugins or not all(map(_OURS.match, places)) else code_digest()


@cache
def code_digest() -> str:
    """The digest of rtseg's files that make graphs and run them."""
    package = Path(__file__).parents[1]
    files = sorted(file for folder in _CODE for file in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"\n".join(file.read_bytes() for file in files)).hexdigest()
