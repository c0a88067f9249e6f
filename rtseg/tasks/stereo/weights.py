"""A PSMNet with its card: built, saved as a folder, loaded from a checkpoint or a folder, or from the authors' file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtseg.attention.insertion import as_insertion
from rtseg.errors import UserError, first_line
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.state_check import check_state
from rtseg.models.weights import misfits, read_weights
from rtseg.models.weights_folder import whole_folder, write_weights
from rtseg.output.folders import make_folder
from rtseg.plugins import noting
from rtseg.tasks.stereo.psmnet import MAX_DISPARITY, PSMNet

MODEL, PART = "psmnet", "stereo"
_INSERTED = "features.inserted."


def create_network(
    max_disparity: int, insert: Mapping[str, str | Sequence[str]] | None, *, align_corners: bool
) -> tuple[PSMNet, ModelCard]:
    """A network with its initial values, and its card: the disparities are what it tells apart, its classes."""
    with noting() as plugins:
        network = PSMNet(max_disparity, insert, align_corners=align_corners)
    options = {"align_corners": align_corners}
    card = ModelCard(
        MODEL, NO_ATTENTION, max_disparity, options, part=PART, insert=as_insertion(insert),
        plugins=tuple(sorted(plugins)),
    )  # fmt: skip
    return network, card


def network_of(card: ModelCard) -> PSMNet:
    """The network that a card describes, with its initial values."""
    network, _ = create_network(card.num_classes, card.insert, align_corners=bool(card.options.get("align_corners")))
    return network


def load_network(source: str | Path) -> tuple[PSMNet, ModelCard]:
    """A trained network in evaluation mode.

    Args:
        source: a .ckpt of `rtseg stereo fit`, or a folder with model.safetensors.

    Raises:
        UserError: there is none, it is damaged, or it is of another task.
    """
    card, state = read_weights(source, parts=(PART,))
    network = network_of(card)
    _load(network, state, source)
    return network.eval(), card


def load_pretrained(network: PSMNet, source: str | Path) -> list[str]:
    """Loads weights of any insertion in place.

    Returns:
        Lines that say what was loaded, and what keeps its initial values.

    Raises:
        UserError: see `load_network`.
    """
    _, state = read_weights(source, parts=(PART,))
    own = network.state_dict()
    left_out = [key for key in state if key.startswith(_INSERTED) and key not in own]
    fresh = [key for key in own if key.startswith(_INSERTED) and key not in state]
    kept = {key: value for key, value in state.items() if key not in left_out}
    _load(network, {**{key: own[key] for key in fresh}, **kept}, source)
    lines = [f"{len(kept)} entries are those of {source}."]
    for words, keys in (("keep their initial values", fresh), ("of it are left out", left_out)):
        if keys:
            lines.append(f"{len(keys)} entries {words}: {_places(keys)}.")
    return lines


def _places(keys: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(f"what is inserted at {key.removeprefix(_INSERTED).split('.')[0]}" for key in keys))


def _load(network: PSMNet, state: Mapping[str, Tensor], source: str | Path) -> None:
    own = network.state_dict()
    check_state(own, state, f"'{source}'")
    if wrong := misfits(own, state):
        raise UserError(f"the weights in '{source}' do not fit this network: {wrong}")
    network.load_state_dict(state)


def convert(path: Path, folder: Path, *, align_corners: bool) -> str:
    """Writes the authors' checkpoint (.tar) as a folder.

    It is read by PyTorch's restricted unpickler, which runs nothing that the file names. The weights fit any number of
    disparities; the card has the authors' 192.

    Returns:
        A sentence that says what was written.

    Raises:
        UserError: it is no such file, or does not hold weights of the authors' stackhourglass.
    """
    network, card = create_network(MAX_DISPARITY, None, align_corners=align_corners)
    network.load_authors_state(_authors_state(path))
    card = replace(card, source=f"PSMNet's authors, {path.name}")
    with whole_folder(folder) as written:
        make_folder(written)
        write_weights(written, card, network.state_dict())
        (written / "README.md").write_text(
            f"# PSMNet, weights of its authors ({path.name})\n\nUse: `rtseg stereo predict FOLDER LEFT RIGHT -o DIR`\n"
        )
    return f"{folder}: psmnet, disparities below {MAX_DISPARITY}. Try: rtseg stereo predict {folder} LEFT RIGHT -o DIR"


def _authors_state(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind raises anything, as its bytes decide
        raise UserError(
            f"'{path}' cannot be read as PyTorch's file of weights, or holds more than weights, which is refused "
            f"({first_line(error)[:200]}): copy or download it again"
        ) from None
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        raise UserError(f"'{path}' does not hold weights by name: give a checkpoint of PSMNet's authors, a .tar")
    return state
