"""How the positions of a feature map exchange information: one mechanism a file, found by name."""

from rtseg.attention import (  # noqa: F401  (importing a file registers its mechanism)
    cross_resolution,
    external,
    factorized,
    gpu_friendly,
    linformer,
    non_local,
    nystrom,
    self_attention,
)
from rtseg.attention.base import Attention, AttentionMap, Cost
from rtseg.attention.build import create_attention
from rtseg.attention.grammar import AttentionSpec, parse_attention
from rtseg.attention.registry import list_attentions, register_attention

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
