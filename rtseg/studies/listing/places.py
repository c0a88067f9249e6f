"""The table of one network's places for attention: `rtseg list places NETWORK`."""

import torch
from torch import nn

from rtseg.attention.base import reduced_size
from rtseg.attention.insertion import list_places
from rtseg.checks import check_whole
from rtseg.models import Segmenter, create_model, list_families, list_models
from rtseg.models.backbone import family_prefixes
from rtseg.output.table import Column, Table
from rtseg.registry import UnknownNameError, suggest
from rtseg.studies.runs.task import STEREO

_COLUMNS = (
    Column("place", left=True),
    Column("channels", form="{:,}"),
    Column("stride"),
    Column("map"),
)


def table(name: str, size: tuple[int, int]) -> Table:
    """The places of a network, and the maps there.

    Args:
        name: of a model, which gets its own head, or of a network of a task, such as mask_rcnn_resnet50 or psmnet.
            "timm:" may be left out where no model of rtseg has the name.
        size: (height, width) of the image.

    Raises:
        UserError: an unknown model, or a bad size.
    """
    for side in size:
        check_whole("input_size", side, 1, "as in --input-size 512 512")
    with torch.device("meta"):
        called, network = _create(name)
    rows: list[list[str | float | None]] = []
    for place, found in list_places(network).items():
        height, width = reduced_size(*size, found.info.stride)
        rows.append([place, found.info.channels, found.info.stride, f"{height}x{width}"])
    return Table(f"Places of {called} for an image of {size[0]}x{size[1]}", _COLUMNS, rows)


def _create(name: str) -> tuple[str, nn.Module]:
    """The whole name of a network, and the network."""
    if name.startswith("mask_rcnn_"):
        from rtseg.tasks.instances.mask_rcnn import create_network

        return name, create_network(name, 1, trainable=5).network
    if name == STEREO.model:
        from rtseg.tasks.stereo.psmnet import PSMNet

        return name, PSMNet()
    segmenter = _segmenter(name)
    return segmenter.card.model, segmenter


def _segmenter(name: str) -> Segmenter:
    try:
        return create_model(name, 19)
    except UnknownNameError:
        for prefix in family_prefixes():
            try:
                return create_model(f"{prefix}:{name}", 19)
            except UnknownNameError:
                continue
        from rtseg.tasks.instances.mask_rcnn import list_networks

        known = suggest(name, [*list_models(), STEREO.model, *list_networks()])
        others = [*list_families(), "mask_rcnn_timm:NAME, Mask R-CNN on one of them"]
        raise UnknownNameError(f"unknown model '{name}'", f".{known} Or {'. Or '.join(others)}.") from None
