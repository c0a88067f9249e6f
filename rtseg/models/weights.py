"""Weights with their card: read from a Lightning checkpoint, a folder of safetensors or a Hugging Face repository, and
written as such a folder.

Lightning is not needed, and no pickled code is run.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.backbone import NO_ATTENTION, Backbone, backbone_options, create_backbone
from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.output.folders import make_folder
from rtseg.registry import trained_with

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"
_FILE_SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors", ".pdparams", ".onnx", ".json", ".yaml")

# Part of a network -> what the weights of one are called, and what they are good for.
_CALLED = {
    "segmenter": "segmentation network",
    "backbone": "pre-trained backbone",
    "classifier": "classifier in pre-training",
}
_USES = {
    "segmenter": "predict with it, or train on from it with rtseg fit --model.weights={source}",
    "backbone": "train a segmentation network from it with rtseg fit --model.weights={source}",
    "classifier": "export it first with python -m pretrain export {source} -o FOLDER, and train a segmentation network "
    "from that with rtseg fit --model.weights=FOLDER",
}

_BACKBONE_README = """---
library_name: rtseg
---

# Backbone of {card.model}, attention {card.attention}, pre-trained on {card.num_classes} classes

Weights: {card.source}. No segmentation network yet: train one from it, with the paths of a data set's configuration and
of this folder.

```bash
{command}
```

Under another attention, that attention starts fresh; everything else is loaded all the same.
"""


def read_weights(
    source: str | Path, *, parts: tuple[str, ...] = ("segmenter",), **hub: Any
) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a network, on the CPU; of a checkpoint with a moving average, that average.

    Args:
        source: a `.ckpt` file, a folder that `save_pretrained` or `save_backbone` wrote, or, where no such path exists,
            a Hugging Face id 'owner/name'.
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
            f"'{source}' holds a {_CALLED[card.part]} ({card.model}), no {wanted}: "
            f"{_USES[card.part].format(source=source)}"
        )


def _read(source: str | Path, **hub: Any) -> tuple[ModelCard, dict[str, Tensor]]:
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return checkpoint_weights(read_checkpoint(path), path)
    if _is_hub_id(str(source)) and not path.parent.exists():  # else a typing error, which is no business of the net
        try:
            files = [Path(hf_hub_download(str(source), name, **hub)) for name in (CARD_FILE, WEIGHTS_FILE)]
        except Exception as error:
            raise UserError(
                f"'{source}' is no file or folder here, and the Hugging Face hub gives no weights: {error}"
            ) from None
        return _read_folder(files[0].parent)
    beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    where = f"'{path.parent}' holds: {', '.join(beside[:10])}" if beside else f"there is nothing in '{path.parent}'"
    raise UserError(
        f"'{source}' does not exist; {where}. Give a .ckpt file, a folder with {WEIGHTS_FILE}, or a Hugging Face id"
    )


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


def described_backbone(card: ModelCard, state: Mapping[str, Tensor], source: str | Path) -> Backbone:
    """The backbone that a card describes, without values: on the meta device.

    Args:
        state: its weights, by the names that they have in a segmenter.
        source: where they come from, for the error.

    Raises:
        UserError: the card names what does not exist, or the weights are not those that it describes.
    """
    try:
        with torch.device("meta"), trained_with(card.plugins):
            backbone = create_backbone(card.model, attention=card.attention, **card.options)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from None
    if wrong := misfits({f"backbone.{key}": value for key, value in backbone.state_dict().items()}, state):
        raise UserError(
            f"the weights in '{source}' are not those that its card describes: {wrong}. Copy or export them again"
        )
    return backbone


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A path to write a folder of weights to, which becomes `target` when it is whole.

    In a folder that holds weights already these are replaced, but its README is kept.

    Raises:
        UserError: the folder or its parent is a file or cannot be written to.
    """
    make_folder(target.parent)
    if target.exists():
        make_folder(target)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as aside:
        written = Path(aside, target.name)
        yield written
        if target.exists():
            (target / CARD_FILE).unlink(missing_ok=True)  # until all is moved, no card may claim other weights
            for name in ("README.md", WEIGHTS_FILE, CARD_FILE):
                if name != "README.md" or not (target / name).exists():
                    os.replace(written / name, target / name)
        else:
            os.replace(written, target)


def write_weights(folder: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Writes weights and card into a folder that is there."""
    # Not save_file: it makes a file that its owner alone may read.
    content = save({key: value.contiguous() for key, value in state.items()}, metadata={"format": "pt"})
    (folder / WEIGHTS_FILE).write_bytes(content)
    (folder / CARD_FILE).write_text(json.dumps(card.to_dict(), indent=2) + "\n")


def save_backbone(folder: Path, card: ModelCard, state: Mapping[str, Tensor]) -> None:
    """Writes weights, card and README of a backbone: a folder for `--model.weights`, written as `save_pretrained` does.

    Args:
        card: of part "backbone".
        state: by the names that the entries have in a segmenter, "backbone.stem.0.weight" and so on.

    Raises:
        UserError: see `whole_folder`.
    """
    with whole_folder(folder) as written:
        written.mkdir()
        write_weights(written, card, state)
        (written / "README.md").write_text(_BACKBONE_README.format(card=card, command=fit_command(card, "FOLDER")))


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


def weights_hash(network: Network) -> str:
    """Names weights by their values, whatever file they came in; what is for training only does not count."""
    digest = hashlib.sha256()
    left_out = network.training_only_prefixes()
    for key, value in sorted(network.state_dict().items()):
        if not key.startswith(left_out):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()[:12]}"


def _is_hub_id(source: str) -> bool:
    """owner/name, whose name may hold a version but is no file's."""
    return bool(re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source)) and not source.endswith(_FILE_SUFFIXES)


def _read_folder(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
            raise UserError(f"'{folder}' holds no {name}, which save_pretrained writes; found: {found}")
    try:
        card = json.loads((folder / CARD_FILE).read_text())
        return _card(card, folder / CARD_FILE), load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{folder / CARD_FILE}' is not JSON: {error}") from None
    except SafetensorError as error:
        raise UserError(f"'{folder / WEIGHTS_FILE}' is damaged or no safetensors file: {error}") from None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """All that a checkpoint holds, on the CPU: its model card and state dict at least.

    Raises:
        UserError: it is damaged, or was not written by a training of rtseg.
    """
    if path.suffix == ".safetensors":
        raise UserError(f"'{path}' does not say which network it is of: give its folder, which holds {CARD_FILE} too")
    if path.suffix == ".pdparams":
        raise UserError(f"'{path}' holds PaddleSeg's weights: `rtseg convert` makes a folder of them that can be given")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another kind raises anything, as its bytes decide
        size = path.stat().st_size
        what = "damaged or no rtseg checkpoint" if size else "empty"
        raise UserError(
            f"'{path}' is {what} ({size} bytes): copy it again, or give another checkpoint of that training"
        ) from error
    if not isinstance(checkpoint, dict) or "model_card" not in checkpoint or "state_dict" not in checkpoint:
        keys = ", ".join(map(str, list(checkpoint)[:6])) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise UserError(f"'{path}' was not written by an rtseg training: it holds no model card (found: {keys})")
    return checkpoint


def checkpoint_weights(checkpoint: Mapping[str, Any], path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and weights from what `read_checkpoint` gave; the moving average where there is one.

    Raises:
        UserError: the card is damaged.
    """
    card = _card(checkpoint["model_card"], path)
    prefix = f"{card.part}."  # the name of the network in the training's own module
    own = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    state = {key.removeprefix(prefix): value for key, value in own.items()}
    return card, checkpoint.get("ema_state_dict") or state


def _card(card: Any, path: Path) -> ModelCard:
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
