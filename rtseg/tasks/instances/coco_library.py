"""The library that draws COCO's polygons and counts its scores: faster-coco-eval, or else pycocotools."""

import importlib
from functools import cache
from importlib.util import find_spec
from types import ModuleType
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


@cache  # looking for a package takes milliseconds, and each mask asks
def mask_functions() -> ModuleType:
    """`frPyObjects`, `merge`, `decode`. Raises: UserError, see `backend`."""
    return importlib.import_module("pycocotools.mask" if backend() == "pycocotools" else "faster_coco_eval.core.mask")
