"""Heads: the backbone's feature maps in, logits out; one a file, found by name."""

from rtseg.models.heads.base import Head, create_head, fitting_options, head_options, list_heads, register_head
from rtseg.registry import import_files

import_files(__name__, __path__)

__all__ = ["Head", "create_head", "fitting_options", "head_options", "list_heads", "register_head"]
