"""torchvision's Mask R-CNN on a feature pyramid, with places to insert attention at.

The network: He et al., https://arxiv.org/abs/1703.06870. On a ResNet its state dict has torchvision's names, whatever
is inserted, so that torchvision's weights fit.

H, W height and width of an image, K classes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from rtseg.attention.insertion import as_insertion, inserted_entries
from rtseg.attention.insertion import insert as insert_attention
from rtseg.checks import check_between, check_one_of
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.timm_backbone import PREFIX as TIMM
from rtseg.options import Positive, check_options, read_options
from rtseg.tasks.instances.pyramid import LEVELS, RESNETS, create_pyramid

PREFIX = "mask_rcnn_"
ON_TIMM = f"{PREFIX}{TIMM}"


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


class InstanceNetwork(NamedTuple):
    """A network and what it was made of.

    Attributes:
        network: called with images (3, H, W) in 0..1, and with targets in training, as torchvision's.
        name: see `create_network`.
        options: those that were given.
        insert: place -> attentions, without patterns.
    """

    network: MaskRCNN
    name: str
    options: Mapping[str, Any]
    insert: Mapping[str, tuple[str, ...]]

    def entries(self, places: Collection[str]) -> set[str]:
        """The inserted entries of the state dict at some places."""
        prefixes = inserted_entries(self.network)
        begins = tuple(prefixes[place] for place in places)
        return {key for key in self.network.state_dict() if key.startswith(begins)}


def list_networks() -> list[str]:
    """The names of the networks on torchvision's bodies."""
    return [f"{PREFIX}{body}" for body in RESNETS]


def create_network(
    name: str, num_classes: int, *, insert: Mapping[str, Any] | None = None, **options: Any
) -> InstanceNetwork:
    """A network with random weights.

    Args:
        name: one of `list_networks()`, or mask_rcnn_timm:NAME for any network of timm with stages of strides 4 to 32.
        num_classes: K, without the background.
        insert: place -> attention or list of them, see `rtseg.attention.insertion`; places are the stages of the body
            and fpn.p2 to fpn.p6.
        options: see `MaskRCNNOptions`.

    Raises:
        UserError: an unknown name, option, place or attention.
    """
    _check_name(name)
    check_options(f"network '{name}'", options, read_options("Mask R-CNN", MaskRCNNOptions))
    network = _build(name.removeprefix(PREFIX), num_classes, MaskRCNNOptions(**options))
    return InstanceNetwork(network, name, options, insert_attention(network, as_insertion(insert)))


def described_network(card: ModelCard) -> InstanceNetwork:
    """The network of a card, without weights. Raises: UserError where the card does not fit."""
    with torch.device("meta"):
        return create_network(card.model, card.num_classes, insert=card.insert, **card.options)


def _check_name(name: str) -> None:
    if name.startswith(ON_TIMM):
        return
    try:
        check_one_of("model.name", name, list_networks())
    except UserError as error:
        raise UserError(f"{error} Or {ON_TIMM}NAME, with a network of timm.") from None


def _build(body: str, num_classes: int, options: MaskRCNNOptions) -> MaskRCNN:
    channels = options.channels
    pyramid = create_pyramid(body, channels, frozen_norm=options.norm == "frozen", trainable=options.trainable)
    anchors = AnchorGenerator(tuple((side,) for side in options.anchors), ((0.5, 1.0, 2.0),) * len(LEVELS))
    in_evaluation = max(1, options.proposals // 2)
    return MaskRCNN(
        pyramid,
        min_size=list(options.sizes),
        max_size=options.longest,
        image_mean=list(pyramid.body.mean),
        image_std=list(pyramid.body.std),
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
