"""Reading weights with their card from wherever they are: a Lightning checkpoint, a folder of safetensors, a Hugging Face repository.

Lightning is not needed, and no pickled code is run.
"""

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"


def read_weights(source: str | Path, **hub: Any) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a segmenter, on the CPU; of a checkpoint with a moving average, that average.

    Args:
        source: a `.ckpt` file, a folder that `save_pretrained` wrote, or, where no such path exists, a Hugging Face id 'owner/name'.
        hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

    Raises:
        UserError: nothing is there, or it is damaged or was not written by rtseg.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_checkpoint(path)
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", str(source)) and not path.parent.is_dir() and not path.suffix:
        try:
            files = [Path(hf_hub_download(str(source), name, **hub)) for name in (CARD_FILE, WEIGHTS_FILE)]
        except Exception as error:
            raise UserError(f"'{source}' is no file or folder here, and the Hugging Face hub gives no weights: {error}") from None
        return _read_folder(files[0].parent)
    beside = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
    where = f"'{path.parent}' holds: {', '.join(beside[:10]) or 'nothing'}" if path.parent.is_dir() else f"nor does folder '{path.parent}'"
    raise UserError(f"'{source}' does not exist; {where}. Give a .ckpt file, a folder with {WEIGHTS_FILE}, or a Hugging Face id")


def _read_folder(folder: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    for name in (CARD_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            found = ", ".join(sorted(p.name for p in folder.iterdir())[:10]) or "nothing"
            raise UserError(f"'{folder}' holds no {name}, which save_pretrained writes; found: {found}")
    try:
        card = json.loads((folder / CARD_FILE).read_text())
        return ModelCard.from_dict(card), load_file(folder / WEIGHTS_FILE)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"'{folder / CARD_FILE}' is not JSON: {error}") from None
    except SafetensorError as error:
        raise UserError(f"'{folder / WEIGHTS_FILE}' is damaged or no safetensors file: {error}") from None


def _read_checkpoint(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0][:200]
        raise UserError(f"'{path}' is damaged or no rtseg checkpoint: {reason}") from None
    if not isinstance(checkpoint, dict) or "model_card" not in checkpoint or "state_dict" not in checkpoint:
        keys = ", ".join(list(checkpoint)[:6]) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise UserError(
            f"'{path}' was not written by an rtseg training: it holds no model card (found: {keys}). "
            "PaddleSeg's .pdparams go through `rtseg convert` first"
        )
    prefix = "segmenter."
    state = {key.removeprefix(prefix): value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    return ModelCard.from_dict(checkpoint["model_card"]), checkpoint.get("ema_state_dict") or state
