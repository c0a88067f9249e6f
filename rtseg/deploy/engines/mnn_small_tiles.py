"""MNN with the smallest tiles of Winograd's convolutions."""

from collections.abc import Mapping
from typing import ClassVar

import torch

from rtseg.deploy.engines.mnn import MNN
from rtseg.deploy.engines.registry import register_engine


@register_engine("mnn-small-tiles")
class MNNSmallTiles(MNN):
    """MNN with Winograd's smallest tiles, then `class_map`: slower than `mnn`. Exact in its convolutions only, which
    round as little as plain float32: GELU has MNN's tanh form, up to 5e-4 off.

    Large tiles round coarsely, since the points that their polynomials are evaluated at lie far apart. In most trained
    networks no pixel notices; where one does, this engine is still there. Without Winograd MNN is slower by far.
    """

    is_reference = True  # of MNN's own files
    _tiles: ClassVar[int] = 1

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {}
