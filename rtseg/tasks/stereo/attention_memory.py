"""What an inserted attention of quadratic cost would need, said before the memory is gone.

At 544x960, layer4 of PSMNet has 32,640 positions, and their map by each other takes 4.3 GB an image and view.
"""

import torch
from torch import Tensor

from rtseg.attention.base import Attention
from rtseg.attention.insertion import HasPlaces
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size
from rtseg.memory import free_memory

_SMALL = 2**26  # bytes that are not worth a look at the machine
_VIEWS, _BACKWARD = 2, 2  # training keeps the map of both images, and makes as large a gradient of each


def map_bytes(features: HasPlaces, size: tuple[int, int], batch: int, *, training: bool) -> dict[str, int]:
    """Bytes of the maps of positions by positions that each place holds at once.

    Args:
        size: (height, width) of the images.
    """
    found = {}
    for place, attentions in features.inserted.items():
        stride = features.places[place].stride
        floats = [
            attention.map_floats(size[0] // stride, size[1] // stride)
            for attention in attentions.modules()
            if isinstance(attention, Attention)
        ]
        found[place] = 4 * batch * (_VIEWS * _BACKWARD * sum(floats) if training else max(floats, default=0))
    return found


def check_memory(features: HasPlaces, image: Tensor) -> None:
    """Before a forward pass of images (B, 3, H, W).

    Raises:
        UserError: the maps of an attention need more memory than is free.
    """
    training = features.training and torch.is_grad_enabled()
    needed = map_bytes(features, spatial_size(image), len(image), training=training)
    if sum(needed.values()) < _SMALL:
        return
    free = free_memory(image.device)
    if free is not None and sum(needed.values()) > free:
        height, width = spatial_size(image)
        maps = ", ".join(f"{value / 1e9:.1f} GB at {place}" for place, value in needed.items() if value)
        raise UserError(
            f"the inserted attention would need {maps} for {len(image)} image{'s' * (len(image) != 1)} of "
            f"{height}x{width} (height x width){' in training' * training}, since it holds a map of positions by "
            f"positions; {free / 1e9:.1f} GB are free. Insert fa, whose memory is linear, or give smaller images or "
            "batches"
        )
