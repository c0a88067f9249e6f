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
from rtseg.attention.base import AttentionSpec, create_attention, list_attentions, parse_attention, register_attention

__all__ = ["AttentionSpec", "create_attention", "list_attentions", "parse_attention", "register_attention"]
