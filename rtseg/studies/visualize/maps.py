"""The maps of a network's attentions: their weights for one image, taken from the forward pass."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from rtseg.attention.base import Attention, Drawing
from rtseg.deploy.fuse import DeployedSegmenter
from rtseg.errors import UserError, described
from rtseg.layers.conv import spatial_size


class Point(NamedTuple):
    """A pixel of the image; x to the right, y down."""

    x: int
    y: int


@dataclass(frozen=True)
class AttentionMaps:
    """The maps of one attention for one image.

    Attributes:
        name: where the attention is, and which it is: "block4_low_gfa".
        kind: what the maps are: "memory slots", "basis masks" or "heads".
        titles: one a map: "head 0, slot 5". Numbers count from 0, as they index the weights.
        maps: (n, h, w) float32 weights. The h x w cells divide the image evenly.
        position: (row, column) of the output that the weights belong to. None where the maps show all positions.
        size: (height, width) of the output.
    """

    name: str
    kind: str
    titles: list[str]
    maps: np.ndarray
    position: tuple[int, int] | None
    size: tuple[int, int]


def attention_maps(
    network: DeployedSegmenter, pixels: np.ndarray, point: Point, failed: Callable[[Attention, str], None] | None = None
) -> list[AttentionMaps]:
    """Runs the network and returns the maps of its attentions, in the order in which they run.

    An attention without `attention_map` is left out.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        point: the pixel whose weights are taken where the keys of an attention are places.
        failed: is called with an attention whose `attention_map` fails, and with why; None lets the error through.

    Raises:
        UserError: weights that are not finite.
    """
    drawn: list[AttentionMaps] = []
    image_size = pixels.shape[0], pixels.shape[1]
    names: dict[nn.Module, str] = {}
    for path, module in network.segmenter.named_modules():
        if isinstance(module, Attention) and module.has_map:
            place = path.removeprefix("backbone.").removesuffix("_attention").replace(".", "_")
            names[module] = f"{place}_{module.name}"

    def catch(attention: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Here, and not from inputs that are kept: a later layer may overwrite those in place.
        assert isinstance(attention, Attention)
        size = spatial_size(output)
        position = cell_of(point, image_size, size)
        try:
            drawing = _checked(attention.drawing(*inputs, position=position))
        except Exception as error:  # whatever a plug-in's `attention_map` raises
            if failed is None:
                raise
            failed(attention, described(error))
        else:
            drawn.append(_maps(names[attention], drawing, position, size))

    handles = [attention.register_forward_hook(catch) for attention in names]
    try:
        with torch.inference_mode():
            network(torch.from_numpy(np.array(pixels, order="C")).to(next(network.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return drawn


def _checked(drawing: Drawing) -> Drawing:
    if drawing.maps.ndim != 4 or 0 in drawing.maps.shape:
        raise UserError(f"its maps have the shape {tuple(drawing.maps.shape)}, not (heads, parts, height, width)")
    return drawing


def _maps(name: str, drawing: Drawing, position: tuple[int, int], size: tuple[int, int]) -> AttentionMaps:
    maps, kind, head, part, of_position = drawing
    if not maps.isfinite().all():
        raise UserError(f"the attention weights of {name} are not finite: this training diverged; use an earlier one")
    titles = [f"{head} {h}" + f", {part} {k}" * bool(part) for h in range(maps.shape[0]) for k in range(maps.shape[1])]
    flat = maps.flatten(0, 1).float().cpu().numpy()
    return AttentionMaps(name, kind, titles, flat, position if of_position else None, size)


def cell_of(point: Point, image_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """(row, column) of the cell that holds a pixel's centre, where a map of `size` is stretched over the image.

    Stretched, and not counted in strides: the network resizes its coarse maps in this way, and sizes that 32 does not
    divide are rounded up at every stride.
    """
    (height, width), (rows, columns) = image_size, size
    return (2 * point.y + 1) * rows // (2 * height), (2 * point.x + 1) * columns // (2 * width)
