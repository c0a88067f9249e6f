"""The library that counts COCO's scores: faster-coco-eval, or else pycocotools."""

from importlib.util import find_spec
from typing import Literal

from rtseg.errors import require

Backend = Literal["faster_coco_eval", "pycocotools"]


def backend() -> Backend:
    """The one that is installed, as torchmetrics calls it; both give the same values.

    Raises:
        UserError: none is.
    """
    if find_spec("faster_coco_eval") is None and find_spec("pycocotools") is not None:
        return "pycocotools"
    require("faster_coco_eval", "detection")
    return "faster_coco_eval"
