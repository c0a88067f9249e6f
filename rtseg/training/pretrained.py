"""Starts a training from the weights of another one.

All entries must fit, with these exceptions, which are initialised from scratch:

- From a segmentation network: the classifiers, if the classes differ; attention that is inserted at a place in one of
  both alone (`rtseg.attention.insertion`).
- From weights of the library that made the backbone, such as timm's: the heads, and what is inserted.
- From a network for RGB, where images have another number of channels: the first convolution is adapted
  (`rtseg.models.input_channels`).
- From a pre-trained backbone: the attention of a branch, if the model has another, and the parts that only some
  published variants have (`Backbone.optional_parts`).
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from rtseg.attention.base import Attention
from rtseg.attention.insertion import inserted_entries
from rtseg.errors import UserError
from rtseg.models.backbone import Backbone, backbone_options
from rtseg.models.backbone_folder import described_backbone
from rtseg.models.input_channels import adapt_weights
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter, differences
from rtseg.models.state_check import check_state
from rtseg.models.weights import misfits, read_weights


def load_pretrained(segmenter: Segmenter, source: str) -> list[str]:
    """Loads weights in place.

    Args:
        source: a `.ckpt`, a folder with safetensors, a published name or a Hugging Face id; of a segmenter or of a
            backbone. Or what `Backbone.read_published` takes.

    Returns:
        Lines that say what was loaded and what is initialised.

    Raises:
        UserError: the weights are missing or do not fit, e.g. those of a segmenter with another attention.
    """
    if (published := segmenter.backbone.read_published(source)) is not None:
        return _load_published(segmenter, published, source)
    card, state = read_weights(source, parts=("segmenter", "backbone"))
    if card.model != segmenter.card.model:
        raise UserError(
            f"model.weights={source} is of '{card.model}', this model is '{segmenter.card.model}': set "
            f"model.name={card.model}, or leave model.weights out"
        )
    load = _load_backbone if card.part == "backbone" else _load_segmenter
    return load(segmenter, card, state, source)


def _load_segmenter(segmenter: Segmenter, card: ModelCard, state: dict[str, Tensor], source: str) -> list[str]:
    other = Segmenter.from_weights(card, state, source=f"'{source}'")
    unlike = differences(other.card, segmenter.card)
    if "attention" in unlike:
        theirs, ours = unlike["attention"]
        raise UserError(
            f"model.weights={source} was trained with attention '{theirs}', this model has '{ours}': "
            f"set model.attention={theirs}, or leave model.weights out"
        )
    if "head" in unlike:
        theirs, ours = unlike["head"]
        raise UserError(
            f"model.weights={source} has the head '{theirs}', this model '{ours}': set model.head={theirs}, or leave "
            "model.weights out"
        )
    if "channels" in unlike and card.in_channels not in (3, segmenter.card.in_channels):
        raise UserError(
            f"model.weights={source} is for images of {card.in_channels} channels, and these have "
            f"{segmenter.card.in_channels}: give weights for RGB, whose first convolution is adapted, or none"
        )
    own = segmenter.state_dict()
    state, adapted = adapt_weights(other.state_dict(), segmenter.backbone, segmenter.card.in_channels)
    inserted, left_out = _unlike_insertions(segmenter, other), _unlike_insertions(other, segmenter)
    state = {key: value for key, value in state.items() if key not in left_out}
    fresh = _class_entries(other.card, state, segmenter.card.num_classes)
    scratch = {key: own[key] for key in (*fresh, *inserted)}
    segmenter.load_weights(state | scratch, source=source)
    lines = [f"Weights from {source}: {len(own) - len(scratch)} of {len(own)} entries.", *adapted]
    if inserted:
        lines.append(f"{len(inserted)} inserted entries are initialised: {', '.join(inserted)}.")
    if left_out:
        lines.append(f"{len(left_out)} inserted entries of the weights are left out: {', '.join(left_out)}.")
    if "options" in unlike:  # those that change no shape, e.g. cross_size; another shape was refused above
        lines.append(_options_line(*unlike["options"]))
    if fresh:
        lines.append(
            f"Initialised for {segmenter.card.num_classes} classes instead of {other.card.num_classes}: "
            f"{', '.join(fresh)}."
        )
    return lines


def _unlike_insertions(segmenter: Segmenter, other: Segmenter) -> list[str]:
    """The entries of what is inserted in the first network, where the second has nothing or something else."""
    theirs = other.card.insert
    changed = [
        prefix
        for place, prefix in inserted_entries(segmenter).items()
        if theirs.get(place) != segmenter.card.insert[place]
    ]
    return [key for key in segmenter.state_dict() if key.startswith(tuple(changed))]


def _class_entries(card: ModelCard, state: Mapping[str, Tensor], num_classes: int) -> list[str]:
    """The entries whose shape depends on the number of classes: those of classifiers. Empty where it is the same."""
    if num_classes == card.num_classes:
        return []
    with torch.device("meta"):
        relabelled = Segmenter(replace(card, num_classes=num_classes, class_names=(), palette=(), ids=()))
    shapes = {key: value.shape for key, value in relabelled.state_dict().items()}
    return [key for key in state if state[key].shape != shapes[key]]


def _load_backbone(segmenter: Segmenter, card: ModelCard, state: dict[str, Tensor], source: str) -> list[str]:
    other = described_backbone(
        card, state, source
    )  # an entry missing from its own weights is damage, not another attention
    state, adapted = adapt_weights(state, segmenter.backbone, segmenter.card.in_channels)
    ours, theirs = _attentions(segmenter.backbone), _attentions(other)
    same = {prefix for prefix in ours if type(ours[prefix]) is type(theirs.get(prefix))}
    own = {key: value for key, value in segmenter.state_dict().items() if key.startswith("backbone.")}
    optional = tuple(f"backbone.{part}." for part in segmenter.backbone.optional_parts)
    keys: dict[str, list[str]] = defaultdict(list)
    for key in {**own, **state}:
        keys[_decide(key, own, state, attentions=ours.keys(), same=same, optional=optional)].append(key)

    known = backbone_options(segmenter.card.model)
    own_options = {key: value for key, value in segmenter.card.options.items() if key in known}
    unlike = differences(card, replace(segmenter.card, options=own_options, head=card.head))
    if keys["unfit"]:
        wrong = misfits(*({key: some[key] for key in keys["unfit"] if key in some} for some in (own, state)))
        options = "It was trained with options {}, this model has {}".format(*unlike.get("options", ({}, {})))
        raise UserError(
            f"the backbone in model.weights={source} does not fit this model: {wrong}. {options}: give the same as "
            "model.options, or leave model.weights out"
        )
    segmenter.load_weights(segmenter.state_dict() | {key: state[key] for key in keys["loaded"]}, source=f"'{source}'")
    lines = [
        f"Weights of a backbone from {source}: {len(keys['loaded'])} of {len(own)} entries; the heads are initialised.",
        *adapted,
    ]
    if "attention" in unlike:
        lines.append("They were trained with attention '{}'; this model has '{}'.".format(*unlike["attention"]))
    if "options" in unlike:
        lines.append(_options_line(*unlike["options"]))
    for kind, what in (("fresh", "are initialised"), ("left out", "of the weights are left out")):
        if keys[kind]:
            lines.append(f"{len(keys[kind])} entries {what}: {', '.join(keys[kind])}.")
    return lines


def _load_published(segmenter: Segmenter, state: dict[str, Tensor], source: str) -> list[str]:
    """Loads weights of the library that made the backbone, whose own classifier is left out."""
    inserted = tuple(inserted_entries(segmenter).values())
    own = {key: value for key, value in segmenter.state_dict().items() if key.startswith("backbone.")}
    fresh = [key for key in own if key.startswith(inserted)]
    needed = own.keys() - set(fresh)
    found = {f"backbone.{key}": value for key, value in state.items()}
    left_out = sorted(key.removeprefix("backbone.") for key in found if key not in own)
    found = {key: value for key, value in found.items() if key in own}
    found, adapted = adapt_weights(found, segmenter.backbone, segmenter.card.in_channels)
    check_state(own, found, f"'{source}'")
    if wrong := misfits({key: own[key] for key in needed}, found):
        raise UserError(
            f"the weights in model.weights={source} are not those of '{segmenter.card.model}': {wrong}. Give the "
            "model.name that they are of, or leave model.weights out"
        )
    segmenter.load_weights(segmenter.state_dict() | found, source=f"'{source}'")
    lines = [f"Weights of the backbone from {source}: {len(found)} of {len(own)} entries; the heads are initialised."]
    lines += adapted
    if fresh:
        lines.append(f"{len(fresh)} inserted entries are initialised: {', '.join(fresh)}.")
    if left_out:
        lines.append(f"{len(left_out)} entries of the weights are left out: {', '.join(left_out)}.")
    return lines


def _decide(
    key: str,
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    attentions: Collection[str],
    same: Collection[str],
    optional: tuple[str, ...],
) -> Literal["loaded", "fresh", "left out", "unfit"]:
    """Decides what to do with an entry that the model, the weights or both have.

    Args:
        own, state: the backbone's entries of the model and of the weights.
        attentions: prefixes of the entries of each attention.
        same: prefixes of the attentions that are the same mechanism in both. In another mechanism an entry of the same
            name means something else, even if its shape matches.
        optional: prefixes of the entries that only one of them may have.
    """
    attention = next((prefix for prefix in attentions if key.startswith(prefix)), None)
    in_both = key in own and key in state
    if in_both and own[key].shape == state[key].shape and (attention is None or attention in same):
        return "loaded"
    if attention is not None or (key.startswith(optional) and not in_both):
        return "fresh" if key in own else "left out"
    return "unfit"


def _attentions(backbone: Backbone) -> dict[str, Attention]:
    """Each attention by the prefix of its entries in a segmenter."""
    named = backbone.named_modules()
    return {f"backbone.{name}.": module for name, module in named if isinstance(module, Attention)}


def _options_line(theirs: Mapping[str, object], ours: Mapping[str, object]) -> str:
    return f"They were trained with options {theirs}; this model has {ours}."
