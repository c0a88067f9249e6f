"""What the attentions of a network look at while it works on a picture: their maps, caught in the forward pass."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rtseg.attention.base import Attention
from rtseg.deploy.fuse import DeployedSegmenter
from rtseg.errors import UserError
from rtseg.layers.conv import spatial_size


class Point(NamedTuple):
    """A pixel of the picture; x to the right, y down."""

    x: int
    y: int


@dataclass(frozen=True)
class Look:
    """What one attention looks at.

    Attributes:
        name: place and mechanism, as in "block4_low_gfa".
        kind: what each map belongs to, as the attention says: "memory slots", "basis masks" or "heads".
        titles: one a map, as in "head 0, slot 5"; numbers count from 0, as they index the weights.
        maps: (n, h, w) float32 weights; the cells divide the picture evenly.
        position: (row, column) of the output whose weights these are; None where the maps show every position's.
        size: (height, width) of the output.
    """

    name: str
    kind: str
    titles: list[str]
    maps: np.ndarray
    position: tuple[int, int] | None
    size: tuple[int, int]


def look(network: DeployedSegmenter, pixels: np.ndarray, point: Point) -> list[Look]:
    """Runs the network and returns what each of its attentions looks at, in the order in which they run.

    An attention without `attention_map` is left out.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        point: whose view is taken where keys are places.

    Raises:
        UserError: weights that are not finite.
    """
    looks: list[Look] = []
    picture_size = pixels.shape[0], pixels.shape[1]
    names: dict[nn.Module, str] = {}
    for path, module in network.segmenter.named_modules():
        if isinstance(module, Attention) and module.has_map:
            place = path.removeprefix("backbone.").removesuffix("_attention").replace(".", "_")
            names[module] = f"{place}_{module.name}"

    def catch(attention: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Here, and not from inputs that are kept: a later layer may overwrite those in place.
        assert isinstance(attention, Attention)
        looks.append(_look(names[attention], attention, inputs, spatial_size(output), point, picture_size))

    handles = [attention.register_forward_hook(catch) for attention in names]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(np.array(pixels, order="C")).to(next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return looks


def _look(
    name: str,
    attention: Attention,
    inputs: tuple[Tensor, ...],
    size: tuple[int, int],
    point: Point,
    picture_size: tuple[int, int],
) -> Look:
    position = cell_of(point, picture_size, size)
    maps, kind, head, part, of_position = attention.drawing(*inputs, position=position)
    if not maps.isfinite().all():
        raise UserError(f"the attention weights of {name} are not finite: this training diverged; use an earlier one")
    titles = [f"{head} {h}" + f", {part} {k}" * bool(part) for h in range(maps.shape[0]) for k in range(maps.shape[1])]
    shown = maps.flatten(0, 1).float().cpu().numpy()
    return Look(name, kind, titles, shown, position if of_position else None, size)


def cell_of(point: Point, picture_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the cell in which a pixel's centre lies, where a map of `size` is spread over the picture.

    Spread, and not counted in strides: so the network itself resizes its coarse maps, and sizes that 32 does not divide
    are rounded up at every stride.
    """
    (height, width), (rows, columns) = picture_size, size
    return (2 * point.y + 1) * rows // (2 * height), (2 * point.x + 1) * columns // (2 * width)
