"""torchvision's Mask R-CNN on a feature pyramid, with places to insert attention at.

The network: He et al., https://arxiv.org/abs/1703.06870. Its state dict has torchvision's names, whatever is inserted,
so that torchvision's weights fit.

B batch, C channels, H, W height and width of a feature map, K classes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from rtseg.attention.insertion import Inserted, as_insertion, resolve
from rtseg.checks import check_between, check_one_of
from rtseg.errors import UserError
from rtseg.layers.feature_info import FeatureInfo
from rtseg.models.model_card import ModelCard
from rtseg.options import Positive, check_options, read_options

PREFIX = "mask_rcnn_"
BODIES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnext101_32x8d")
STAGES = ("layer1", "layer2", "layer3", "layer4")
LEVELS = ("fpn.p2", "fpn.p3", "fpn.p4", "fpn.p5", "fpn.p6")  # fpn_1 to fpn_5 of the paper
_PARTS = ("conv1", "bn1", *STAGES)  # of a body, in the order of the forward pass


@dataclass(frozen=True)
class MaskRCNNOptions:
    """Options of every network. The defaults are those of torchvision's `maskrcnn_resnet50_fpn`.

    Attributes:
        channels: width of the pyramid and of the heads.
        sizes: short sides that images are resized to; in training one is drawn for each image, the last is that of
            evaluation.
        longest: no side becomes longer.
        norm: "frozen" keeps BatchNorm as it was pre-trained; "batch" trains it, as a body without weights needs.
        trainable: how many stages of the body are trained, from the last on; 5: all and the stem.
        anchors: side of the anchors of each level.
        proposals: boxes that the heads see of an image in training; half as many in evaluation.
        rpn_samples, roi_samples: boxes of an image that the loss of the proposals, and of the heads, is counted on.

    Raises:
        UserError: a value out of range.
    """

    channels: Positive = 256
    sizes: tuple[int, ...] = (800,)
    longest: Positive = 1333
    norm: Literal["frozen", "batch"] = "frozen"
    trainable: int = 3
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    proposals: Positive = 2000
    rpn_samples: Positive = 256
    roi_samples: Positive = 512

    def __post_init__(self) -> None:
        check_between("model.options.trainable", self.trainable, 0, 5)
        if len(self.anchors) != len(LEVELS) or not self.sizes or min(*self.anchors, *self.sizes) < 1:
            raise UserError(
                f"model.options: anchors={list(self.anchors)} needs {len(LEVELS)} sides of at least 1, one a level, "
                f"and sizes={list(self.sizes)} one or more"
            )


class TopLevel(LastLevelMaxPool):
    """P6: P5 without every other row and column, then what is inserted."""

    def __init__(self, inserted: Inserted) -> None:
        super().__init__()
        self.inserted = inserted

    def forward(self, x: list[Tensor], y: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """The maps of the levels and their names, with one more of each."""
        maps, names = super().forward(x, y, names)
        return [*maps[:-1], self.inserted(maps[-1])], names


class InstanceNetwork(NamedTuple):
    """A network and what it was made of.

    Attributes:
        network: called with images (3, H, W) in 0..1, and with targets in training, as torchvision's.
        name: one of `list_networks()`.
        options: those that were given.
        insert: place -> attentions, without patterns.
        prefixes: place -> what the names of its inserted entries in the state dict begin with.
    """

    network: MaskRCNN
    name: str
    options: Mapping[str, Any]
    insert: Mapping[str, tuple[str, ...]]
    prefixes: Mapping[str, str]

    def entries(self, places: Collection[str]) -> set[str]:
        """The inserted entries of the state dict at some places."""
        begins = tuple(self.prefixes[place] for place in places)
        return {key for key in self.network.state_dict() if key.startswith(begins)}


def list_networks() -> list[str]:
    """The names of all networks."""
    return [f"{PREFIX}{body}" for body in BODIES]


def create_network(
    name: str, num_classes: int, *, insert: Mapping[str, Any] | None = None, **options: Any
) -> InstanceNetwork:
    """A network with random weights.

    Args:
        name: one of `list_networks()`.
        num_classes: K, without the background.
        insert: place -> attention or list of them; see `list_places`, and `rtseg.attention.insertion` for patterns.
        options: see `MaskRCNNOptions`.

    Raises:
        UserError: an unknown name, option, place or attention.
    """
    check_one_of("model.name", name, list_networks())
    check_options(f"network '{name}'", options, read_options("Mask R-CNN", MaskRCNNOptions))
    network = _build(name.removeprefix(PREFIX), num_classes, MaskRCNNOptions(**options))
    places = list_places(network)
    found = resolve(as_insertion(insert), list(places))
    prefixes = {place: _insert(network, place, places[place], attentions) for place, attentions in found.items()}
    return InstanceNetwork(network, name, options, found, prefixes)


def described_network(card: ModelCard) -> InstanceNetwork:
    """The network of a card, without weights. Raises: UserError where the card does not fit."""
    with torch.device("meta"):
        return create_network(card.model, card.num_classes, insert=card.insert, **card.options)


def list_places(network: MaskRCNN) -> dict[str, FeatureInfo]:
    """Place -> channels and stride of the map there."""
    body, pyramid = network.backbone.body, network.backbone.out_channels
    stages = {stage: FeatureInfo(_width(body[stage]), 4 * 2**k) for k, stage in enumerate(STAGES)}
    return stages | {level: FeatureInfo(pyramid, 4 * 2**k) for k, level in enumerate(LEVELS)}


def _insert(network: MaskRCNN, place: str, info: FeatureInfo, attentions: Sequence[str]) -> str:
    """Inserts attentions at a place, and returns what their entries in the state dict begin with."""
    try:
        inserted = Inserted(attentions, info.channels, place)
    except UserError as error:
        raise UserError(f"insert {place}={' '.join(attentions)} ({info.channels} channels): {error}") from None
    body, pyramid = network.backbone.body, network.backbone.fpn
    if place == LEVELS[-1]:
        pyramid.extra_blocks = TopLevel(inserted)
        return "backbone.fpn.extra_blocks.inserted."
    level = LEVELS.index(place) if place in LEVELS else 0
    module = body[place] if place in STAGES else pyramid.layer_blocks[level]
    module.append(inserted)
    name = f"body.{place}" if place in STAGES else f"fpn.layer_blocks.{level}"
    return f"backbone.{name}.{len(module) - 1}."


def _build(body: str, num_classes: int, options: MaskRCNNOptions) -> MaskRCNN:
    norm_layer = FrozenBatchNorm2d if options.norm == "frozen" else nn.BatchNorm2d
    trunk = getattr(resnet, body)(weights=None, norm_layer=norm_layer)
    frozen = _PARTS[: len(_PARTS) - options.trainable] if options.trainable < 5 else ()
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_(name.split(".")[0] not in frozen)
    widths = [_width(getattr(trunk, stage)) for stage in STAGES]
    returned = {stage: str(k) for k, stage in enumerate(STAGES)}
    channels = options.channels
    anchors = AnchorGenerator(tuple((side,) for side in options.anchors), ((0.5, 1.0, 2.0),) * len(LEVELS))
    in_evaluation = max(1, options.proposals // 2)
    return MaskRCNN(
        BackboneWithFPN(trunk, returned, widths, channels),
        min_size=list(options.sizes),
        max_size=options.longest,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=options.proposals,
        rpn_post_nms_top_n_train=options.proposals,
        rpn_pre_nms_top_n_test=in_evaluation,
        rpn_post_nms_top_n_test=in_evaluation,
        rpn_batch_size_per_image=options.rpn_samples,
        box_batch_size_per_image=options.roi_samples,
        box_head=TwoMLPHead(channels * 7 * 7, 4 * channels),
        box_predictor=FastRCNNPredictor(4 * channels, num_classes + 1),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes + 1),
    )


def _width(stage: nn.Sequential) -> int:
    """Channels of what a stage gives."""
    last: Any = [block for block in stage if not isinstance(block, Inserted)][-1]
    return int((getattr(last, "conv3", None) or last.conv2).out_channels)  # of three convolutions or two
