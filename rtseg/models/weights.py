"""Weights with their card: of a Lightning checkpoint, a folder of safetensors, a published name or a Hugging Face id.

Lightning is not needed, and no pickled code is run.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.checkpoint_file import load_checkpoint
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.models.weights_folder import CARD_FILE, WEIGHTS_FILE, read_card, read_folder
from rtseg.paths import fetch_network
from rtseg.published import find_published

# Part of a network -> what the weights of one are called, and what they are good for.
_CALLED = {
    "segmenter": "segmentation network",
    "backbone": "pre-trained backbone",
    "classifier": "classifier in pre-training",
    "detector": "network for instances",
    "stereo": "stereo network",
}
_USES = {
    "segmenter": "predict with it, or train on from it with rtseg fit --model.weights={source}",
    "backbone": "train a segmentation network from it with rtseg fit --model.weights={source}",
    "classifier": "export it first with python -m pretrain export {source} -o FOLDER, and train a segmentation network "
    "from that with rtseg fit --model.weights=FOLDER",
    "detector": "predict with it with rtseg instances predict, or score it with rtseg instances validate",
    "stereo": "predict with it by rtseg stereo predict {source} LEFT RIGHT -o DIR",
}


def read_weights(
    source: str | Path, *, parts: tuple[str, ...] = ("segmenter",), **hub: Any
) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a network, on the CPU; of a checkpoint with a moving average, that average.

    Args:
        source: a `.ckpt` file, a folder that `save_pretrained` or `save_backbone` wrote, or, where no such path exists,
            one of `rtseg list weights` or a Hugging Face id 'owner/name'.
        parts: the kinds of network that will do, see `ModelCard.part`.
        hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

    Raises:
        UserError: nothing is there, or it is damaged or was not written by rtseg, or it is of another part.
    """
    card, state = _read(source, **hub)
    check_part(card, source, parts)
    return card, state


def check_part(card: ModelCard, source: str | Path, parts: tuple[str, ...]) -> None:
    """Raises: UserError where the card is of none of these parts; it says of which, and what can be done with it."""
    if card.part not in parts:
        wanted = " or ".join(_CALLED[part] for part in parts)
        raise UserError(
            f"'{source}' holds a {_CALLED[card.part]} ({card.model}), not a {wanted}: "
            f"{_USES[card.part].format(source=source)}"
        )


def _read(source: str | Path, **hub: Any) -> tuple[ModelCard, dict[str, Tensor]]:
    path = Path(source)
    if path.is_dir():
        return read_folder(path)
    if path.is_file():
        return checkpoint_weights(read_checkpoint(path), path)
    if published := find_published(source):
        if hub:
            raise UserError(f"'{source}' is not a Hugging Face id, so {', '.join(hub)} cannot be given with it")
        from rtseg.models.published import read_published  # which needs the networks, and they this file

        return read_published(published)
    return read_folder(fetch_network(source, CARD_FILE, WEIGHTS_FILE, **hub))


def misfits(own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """Which entries of a state dict do not fit a network whose own is `own`, for an error; empty where all do."""
    shapes = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    kinds = {"missing": own.keys() - state.keys(), "unknown": state.keys() - own.keys(), "of another shape": shapes}
    return "; ".join(
        f"{len(entries)} {kind} ({', '.join(sorted(entries)[:3])}{', …' if len(entries) > 3 else ''})"
        for kind, entries in kinds.items()
        if entries
    )


def weights_hash(network: Network) -> str:
    """Names weights by their values, whatever file they came in; what is for training only does not count."""
    digest = hashlib.sha256()
    left_out = network.training_only_prefixes()
    for key, value in sorted(network.state_dict().items()):
        if not key.startswith(left_out):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:12]}"


def read_checkpoint(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds, see `load_checkpoint`; its tensors lie in the file until they are used.

    Raises:
        UserError: it is damaged, or was not written by a training of rtseg.
    """
    if path.suffix == ".safetensors":
        raise UserError(f"'{path}' does not say which network it is of: give its folder, which holds {CARD_FILE} too")
    if path.suffix == ".pdparams":
        raise UserError(f"'{path}' holds PaddleSeg's weights: `rtseg convert` makes a folder of them that can be given")
    return load_checkpoint(path, mmap=True)


def _miou(checkpoint: Mapping[str, Any], path: Path) -> float | None:
    """mIoU of a training's best checkpoint, in per cent; of others none, since their weights are later than a score."""
    if path.name != "best.ckpt":
        return None
    states = [state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, Mapping)]
    scores = [state.get("best_model_score") for state in states if state.get("monitor") == "val/miou"]
    score = float(scores[0]) if scores and isinstance(scores[0], Tensor) and scores[0].numel() == 1 else -1.0
    return round(100 * score, 2) if 0 <= score <= 1 else None


def checkpoint_weights(checkpoint: Mapping[str, Any], path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and weights from what `read_checkpoint` gave; the moving average where there is one.

    Raises:
        UserError: the card is damaged.
    """
    card = replace(read_card(checkpoint["model_card"], path), miou=_miou(checkpoint, path))
    prefix = f"{card.part}."  # the name of the network in the training's own module
    own = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    state = {key.removeprefix(prefix): value for key, value in own.items()}
    return card, checkpoint.get("ema_state_dict") or state
