"""Networks: an image in, logits out; one backbone a file, found by name."""

from rtseg.models.backbone import list_families, list_models
from rtseg.models.heads import list_heads
from rtseg.models.segmenter import Segmenter, create_model
from rtseg.registry import import_files

import_files(__name__, __path__)

__all__ = ["Segmenter", "create_model", "list_families", "list_heads", "list_models"]
