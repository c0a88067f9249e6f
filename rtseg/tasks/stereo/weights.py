"""A PSMNet with its card: built, saved as a folder, loaded from a checkpoint or a folder, or from the authors' file."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION
from rtseg.models.model_card import ModelCard
from rtseg.models.state_check import check_state
from rtseg.models.state_file import read_state_file
from rtseg.models.weights import misfits, read_weights
from rtseg.models.weights_folder import whole_folder, write_weights
from rtseg.output.folders import make_folder
from rtseg.plugins import noting
from rtseg.registry import trained_with
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
        MODEL, NO_ATTENTION, max_disparity, options, part=PART, insert=network.insert,
        plugins=tuple(sorted(plugins)),
    )  # fmt: skip
    return network, card


def network_of(card: ModelCard) -> PSMNet:
    """The network that a card describes, with its initial values."""
    with trained_with(card.plugins):
        network, _ = create_network(
            card.num_classes, card.insert, align_corners=bool(card.options.get("align_corners"))
        )
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
    """Loads weights of any insertion in place; what is inserted in one of both alone, or otherwise, is left out.

    Returns:
        Lines that say what was loaded, and what keeps its initial values.

    Raises:
        UserError: see `load_network`.
    """
    card, state = read_weights(source, parts=(PART,))
    own = network.state_dict()
    ours, theirs = network.insert, card.insert
    unlike = [place for place in {**theirs, **ours} if theirs.get(place) != ours.get(place)]
    begins = tuple(f"{_INSERTED}{place}." for place in unlike)
    fresh = {key: value for key, value in own.items() if key.startswith(begins)}
    left_out = [key for key in state if key.startswith(begins)]
    kept = {key: value for key, value in state.items() if key not in left_out}
    _load(network, fresh | kept, source)
    lines = [f"{len(kept)} entries are those of {source}."]
    for words, keys, inserted in (("keep their initial values", fresh, ours), ("of it are left out", left_out, theirs)):
        if keys:
            places = ", ".join(place for place in unlike if place in inserted)
            lines.append(f"{len(keys)} entries {words}: what is inserted at {places}.")
    return lines


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
    network.load_authors_state(read_state_file(path))
    card = replace(card, source=f"PSMNet's authors, {path.name}")
    with whole_folder(folder) as written:
        make_folder(written)
        write_weights(written, card, network.state_dict())
        (written / "README.md").write_text(
            f"# PSMNet, weights of its authors ({path.name})\n\nUse: `rtseg stereo predict FOLDER LEFT RIGHT -o DIR`\n"
        )
    return f"{folder}: psmnet, disparities below {MAX_DISPARITY}. Try: rtseg stereo predict {folder} LEFT RIGHT -o DIR"
