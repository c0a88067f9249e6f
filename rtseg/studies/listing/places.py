"""The table of one network's places for attention: `rtseg list places NETWORK`."""

import torch

from rtseg.attention.base import reduced_size
from rtseg.attention.insertion import list_places
from rtseg.checks import check_whole
from rtseg.models import Segmenter, create_model
from rtseg.models.backbone import family_prefixes
from rtseg.output.table import Column, Table
from rtseg.registry import UnknownNameError

_COLUMNS = (
    Column("place", left=True),
    Column("channels", form="{:,}"),
    Column("stride"),
    Column("map"),
)


def table(name: str, size: tuple[int, int]) -> Table:
    """The places of a network with its own head, and the maps there.

    Args:
        name: of a model; "timm:" may be left out where no model of rtseg has the name.
        size: (height, width) of the image.

    Raises:
        UserError: an unknown model, or a bad size.
    """
    for side in size:
        check_whole("input_size", side, 1, "as in --input-size 512 512")
    with torch.device("meta"):
        network = _create(name)
    rows: list[list[str | float | None]] = []
    for place, found in list_places(network).items():
        height, width = reduced_size(*size, found.info.stride)
        rows.append([place, found.info.channels, found.info.stride, f"{height}x{width}"])
    return Table(f"Places of {network.card.model} for an image of {size[0]}x{size[1]}", _COLUMNS, rows)


def _create(name: str) -> Segmenter:
    try:
        return create_model(name, 19)
    except UnknownNameError:
        for prefix in family_prefixes():
            try:
                return create_model(f"{prefix}:{name}", 19)
            except UnknownNameError:
                continue
        raise
