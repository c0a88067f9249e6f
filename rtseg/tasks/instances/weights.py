"""Weights to start Mask R-CNN from: of its body, or of the whole network.

They come from a file: of a classifier of torchvision or timm, of torchvision's Mask R-CNN, or a checkpoint of
`rtseg instances fit`; or from where torchvision and timm publish theirs.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

from torch import Tensor
from torchvision.models import get_model_weights
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from rtseg.errors import UserError, first_line
from rtseg.models.state_check import check_state
from rtseg.models.state_file import read_state_file
from rtseg.models.timm_backbone import PREFIX as TIMM
from rtseg.models.timm_backbone import TimmBackbone
from rtseg.models.weights import misfits, read_weights
from rtseg.tasks.instances import COCO, IMAGENET
from rtseg.tasks.instances.mask_rcnn import PREFIX, InstanceNetwork, described_network

_BODY = "backbone.body."
_COUNTER = ".num_batches_tracked"
_OF_CLASSES = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
_OLD_NAMES = (  # of torchvision's files from before its version 0.13
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
    *((re.compile(rf"^(roi_heads\.mask_head)\.mask_fcn{k + 1}\.(\w+)$"), rf"\1.{k}.0.\2") for k in range(4)),
)


class Loaded(NamedTuple):
    """What became of weights.

    Attributes:
        source: where they came from.
        loaded: how many entries of the network are theirs now.
        fresh: its other entries, which are as they were initialised.
        inserted: those of `fresh` that are inserted attention.
    """

    source: str
    loaded: int
    fresh: frozenset[str]
    inserted: frozenset[str]

    def lines(self) -> list[str]:
        """For the user."""
        lines = [f"Weights from {self.source}: {self.loaded} of {self.loaded + len(self.fresh)} entries."]
        if self.inserted:
            lines.append(f"{len(self.inserted)} inserted entries are initialised: {_places(self.inserted)}.")
        if others := self.fresh - self.inserted:
            lines.append(f"{len(others)} other entries are initialised: {_places(others)}.")
        return lines


def load_weights(network: InstanceNetwork, source: str) -> Loaded:
    """Loads weights into a network.

    All entries of the body, or of the whole network, must fit. Inserted attention, and the heads' last layers where the
    classes differ, keep their initial values.

    Args:
        source: a file; or "imagenet", what torchvision or timm publishes for the body; "coco", torchvision's Mask R-CNN
            on ResNet-50; or, for a body of timm, timm:NAME.TAG.

    Raises:
        UserError: nothing is there, it is damaged, or it is of another network.
    """
    own = network.network.state_dict()
    state = _state(network, source)
    counters = {key for key in own if key.endswith(_COUNTER)}  # a frozen BatchNorm has none
    state = {key: value for key, value in state.items() if key in own or not key.endswith(_COUNTER)}
    check_state(own, state, f"'{source}'")
    body_only = not any(key.startswith("roi_heads.") for key in state)
    inserted = network.entries(network.insert)
    needed = {key for key in own.keys() - inserted - counters if key.startswith(_BODY) or not body_only}
    classes = {key for key in needed & state.keys() if key.startswith(_OF_CLASSES)}
    if any(state[key].shape != own[key].shape for key in classes):
        needed -= classes
        state = {key: value for key, value in state.items() if key not in classes}
    expected = {key: own[key] for key in needed | (state.keys() & (inserted | counters))}
    if wrong := misfits(expected, state):
        raise UserError(f"the weights in '{source}' are not those of {network.name}: {wrong}. Give others")
    network.network.load_state_dict(own | state)
    fresh = frozenset(own.keys() - state.keys() - counters)
    return Loaded(source, len(own) - len(counters) - len(fresh), fresh, fresh & inserted)


def _state(network: InstanceNetwork, source: str) -> dict[str, Tensor]:
    """The state dict of a source by the names of the network, without attention that is inserted there and not, or
    otherwise, in the network.
    """
    if source == COCO and network.name != f"{PREFIX}resnet50":
        raise UserError(
            f"torchvision publishes {COCO} weights of {PREFIX}resnet50 alone: give {IMAGENET} for {network.name}"
        )
    path = Path(source)
    if path.suffix == ".ckpt" and path.is_file():
        card, state = read_weights(path, parts=("detector",))
        other = described_network(card)
        unlike = [place for place in other.insert if other.insert[place] != network.insert.get(place)]
        left_out = other.entries(unlike)
        return {key: value for key, value in state.items() if key not in left_out}
    if isinstance(body := network.network.backbone.body, TimmBackbone):
        return _of_timm(network.name, body, source)
    if source in (IMAGENET, COCO):
        return _whole(_published(network.name, source), source)
    if source.startswith(TIMM):
        raise UserError(
            f"'{source}' are weights of timm: give {PREFIX}{source.partition('.')[0]} as --model.name, or other "
            f"weights for {network.name}"
        )
    if not path.is_file():
        raise UserError(f"there is no file '{source}': give one, or {IMAGENET} or {COCO} for torchvision's weights")
    return _whole(read_state_file(path), source)


def _of_timm(name: str, body: TimmBackbone, source: str) -> dict[str, Tensor]:
    """What timm publishes for a body, or a file of it, without the classifier."""
    state = body.read_published(name.removeprefix(PREFIX) if source == IMAGENET else source)
    if state is None:
        raise UserError(
            f"there are no weights '{source}': give a .safetensors or .pth file of timm's, {IMAGENET}, or "
            f"{TIMM}NAME.TAG"
        )
    own = body.state_dict()
    return {f"{_BODY}{key}": value for key, value in state.items() if key in own}


def _published(name: str, source: str) -> dict[str, Tensor]:
    weights: Any = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    if source == IMAGENET:
        weights = get_model_weights(name.removeprefix(PREFIX))["IMAGENET1K_V1"]
    try:
        return dict(weights.get_state_dict(check_hash=True))
    except (URLError, OSError, RuntimeError) as error:
        raise UserError(
            f"torchvision's weights cannot be fetched from {weights.url} ({first_line(error)}): fetch the file "
            "elsewhere, and give it as --model.weights=FILE"
        ) from None


def _whole(state: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The entries by the names of Mask R-CNN as it is built here."""
    found = {}
    if not any(key.startswith(_BODY) for key in state):
        if "layer4.0.conv1.weight" not in state:
            raise UserError(f"'{source}' holds neither a ResNet of torchvision nor a Mask R-CNN: give one of them")
        state = {f"{_BODY}{key}": value for key, value in state.items() if not key.startswith("fc.")}
    for key, value in state.items():
        for old, new in _OLD_NAMES:
            key = old.sub(new, key)
        found[key] = value
    return found


def _places(entries: frozenset[str]) -> str:
    """The modules that entries belong to, shortened to what tells them apart."""
    names = sorted({re.sub(r"^backbone\.", "", key.rpartition(".")[0]) for key in entries})
    return ", ".join(names[:8]) + ", …" * (len(names) > 8)
