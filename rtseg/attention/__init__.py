"""How the positions of a feature map exchange information: one mechanism a file, found by name."""

from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.build import create_attention
from rtseg.attention.grammar import AttentionSpec, parse_attention
from rtseg.attention.registry import list_attentions, register_attention
from rtseg.registry import import_files

import_files(__name__, __path__)

__all__ = [
    "Attention",
    "AttentionMap",
    "AttentionSpec",
    "Cost",
    "create_attention",
    "list_attentions",
    "parse_attention",
    "register_attention",
]
