"""A weight file -> the network that it describes.

Reads checkpoints of `rtseg fit` (without Lightning), safetensors folders, and Hugging Face ids.
"""

import pickle
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter
from rtseg.registry import suggest

_PREFIX = "segmenter."  # of the network's entries in a checkpoint of the training module
_FILE_SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors", ".pdparams", ".onnx", ".xml", ".json", ".yaml")


def load_segmenter(source: str | Path) -> Segmenter:
    """Rebuilds a network from its weights alone, on the CPU, in eval mode.

    Args:
        source: a `.ckpt` of `rtseg fit` (its EMA weights where it has them), a folder with model.safetensors and
            config.json, or a Hugging Face id "owner/name" where no such path exists. Only the last uses the network.

    Raises:
        UserError: nothing there, a file of another kind, a truncated one, or weights that do not fit their card.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        segmenter = Segmenter.from_pretrained(path)
    elif path.is_file():
        segmenter = _from_checkpoint(path)
    elif _is_hub_id(str(source)):
        segmenter = _from_hub(str(source))
    else:
        raise UserError(
            f"no weights at '{source}': {_whats_there(path)}. "
            "Give a .ckpt, a folder with model.safetensors and config.json, or a Hugging Face id"
        )
    return segmenter.eval()


def _from_checkpoint(path: Path) -> Segmenter:
    checkpoint = _read(path)
    if "model_card" not in checkpoint:
        keys = ", ".join(sorted(map(str, checkpoint))[:6])
        raise UserError(f"'{path}' is no checkpoint of rtseg: it holds no model_card (but {keys or 'nothing'})")
    try:
        segmenter = Segmenter(ModelCard.from_dict(checkpoint["model_card"]))
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
    state = checkpoint.get("ema_state_dict")
    if state is None:
        entries = checkpoint.get("state_dict", {}).items()
        state = {key.removeprefix(_PREFIX): value for key, value in entries if key.startswith(_PREFIX)}
    segmenter.load_weights(state, source=f"'{path}'")
    return segmenter


def _read(path: Path) -> dict[str, Any]:
    """The checkpoint's dictionary; tensors and plain values only, so that a foreign file cannot run code."""
    if path.suffix == ".pdparams":
        raise UserError(
            f"'{path}' holds PaddleSeg weights: turn them into a folder with `rtseg convert`, and give that"
        )
    if path.suffix == ".safetensors":
        raise UserError(f"'{path}' has its description in config.json beside it: give the folder, '{path.parent}'")
    with path.open("rb") as file:
        is_archive = file.read(4) == b"PK\x03\x04"
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        why = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        what = f"holds objects that are neither tensors nor plain values ({why[1]})" if why else "is no checkpoint"
        raise UserError(f"'{path}' {what}; rtseg reads the .ckpt files that `rtseg fit` writes") from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        size = path.stat().st_size
        what = "is truncated or damaged" if is_archive or not size else "is no checkpoint"
        why_not = str(error).splitlines()[0]
        raise UserError(f"'{path}' ({size} bytes) {what}: {why_not}. Copy it again, or give another file") from None
    if not isinstance(checkpoint, dict):
        raise UserError(f"'{path}' is no checkpoint of rtseg: it holds a {type(checkpoint).__name__}")
    return checkpoint


def _is_hub_id(source: str) -> bool:
    """owner/name; a path with a typing error in it must not end in a question to the internet."""
    plain = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", source) is not None
    return plain and not source.endswith(_FILE_SUFFIXES) and not Path(source).parent.exists()


def _from_hub(name: str) -> Segmenter:
    try:
        return Segmenter.from_pretrained(name)
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            f"no folder '{name}' here, and Hugging Face does not give it ({type(error).__name__}). "
            "Check the name, the connection, and for a private model `hf auth login`"
        ) from None


def _whats_there(path: Path) -> str:
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    names = sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []
    if parent == path.absolute().parent and names:
        return f"no such file or folder.{suggest(path.name, names[:20])}".rstrip(".")
    return f"'{parent}' holds {', '.join(names[:20]) or 'nothing'}"
