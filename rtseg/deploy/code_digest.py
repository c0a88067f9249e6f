"""The digest of the code that makes a network's graph: what is kept in the cache holds for this code alone."""

import hashlib
import re
from functools import cache
from pathlib import Path

from rtseg.models.network import Network

_CODE = ("attention", "layers", "models", "deploy")  # the folders whose code makes a graph
_OURS = re.compile(rf"torch\.|rtseg\.({'|'.join(_CODE)})\b")  # modules whose changes are noticed


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
