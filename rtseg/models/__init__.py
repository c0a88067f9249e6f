"""Networks: an image in, logits out."""

from rtseg.models import ddrnet, rtformer  # noqa: F401  (importing a file registers its models)
from rtseg.models.backbone import list_models
from rtseg.models.segmenter import Segmenter, create_model

__all__ = ["Segmenter", "create_model", "list_models"]
