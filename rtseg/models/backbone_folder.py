"""A pre-trained backbone as a folder of weights: written, checked, and the command that trains from it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, Backbone, backbone_options, create_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.state_check import check_state
from rtseg.models.weights import misfits
from rtseg.models.weights_folder import whole_folder, write_weights
from rtseg.registry import trained_with

_BACKBONE_README = """---
library_name: rtseg
---

# Backbone of {card.model}, attention {card.attention}, pre-trained on {card.num_classes} classes

Weights: {card.source}. No segmentation network yet: train one from it, with the paths of a data set's configuration and
of this folder.

```bash
{command}
```

With another attention, that attention is initialised; everything else is loaded.
"""


def described_backbone(card: ModelCard, state: Mapping[str, Tensor], source: str | Path) -> Backbone:
    """The backbone that a card describes, without values: on the meta device.

    Args:
        state: its weights, by the names that they have in a segmenter.
        source: where they come from, for the error.

    Raises:
        UserError: the card names what does not exist, or the weights are not those that it describes or cannot be used.
    """
    try:
        with torch.device("meta"), trained_with(card.plugins):
            backbone = create_backbone(card.model, attention=card.attention, **card.options)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from None
    own = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    check_state(own, state, f"'{source}'")
    if wrong := misfits(own, state):
        raise UserError(
            f"the weights in '{source}' are not those that its card describes: {wrong}. Copy or export them again"
        )
    return backbone


def save_backbone(folder: Path, card: ModelCard, state: Mapping[str, Tensor], *, where: str = "FOLDER") -> None:
    """Writes weights, card and README of a backbone: a folder for `--model.weights`, written as `save_pretrained` does.

    Args:
        card: of part "backbone".
        state: by the names that the entries have in a segmenter, "backbone.stem.0.weight" and so on.
        where: the README says how to train from this folder or id.

    Raises:
        UserError: see `whole_folder`.
    """
    with whole_folder(folder) as written:
        written.mkdir()
        write_weights(written, card, state)
        (written / "README.md").write_text(_BACKBONE_README.format(card=card, command=fit_command(card, where)))


def fit_command(card: ModelCard, folder: str | Path) -> str:
    """The command that trains a segmentation network from the backbone in a folder."""
    network = {"name": card.model}
    if card.attention != NO_ATTENTION:
        network["attention"] = card.attention
    for key, value in _shaping_options(card).items():
        network[f"options.{key}"] = json.dumps(value, separators=(",", ":"))
    plugins = [f"--plugin {plugin}" for plugin in card.plugins]
    flags = " ".join([*plugins, *(f"--model.{key}={value}" for key, value in network.items())])
    return f"rtseg fit --config CONFIG {flags} --model.weights={folder}"


def _shaping_options(card: ModelCard) -> dict[str, Any]:
    """The options without which the weights of a backbone would have other names or shapes."""

    def shapes(options: Mapping[str, Any]) -> dict[str, torch.Size]:
        with torch.device("meta"):
            backbone = create_backbone(card.model, attention=card.attention, **options)
        return {key: value.shape for key, value in backbone.state_dict().items()}

    options = {key: value for key, value in card.options.items() if key in backbone_options(card.model)}
    own = shapes(options)
    others = {key: {other: options[other] for other in options if other != key} for key in options}
    return {key: options[key] for key, without in others.items() if shapes(without) != own}
