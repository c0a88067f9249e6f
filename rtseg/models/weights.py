"""Reading weights with their card from a Lightning checkpoint, a folder of safetensors or a Hugging Face repository.

Lightning is not needed, and no pickled code is run.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard

WEIGHTS_FILE, CARD_FILE = "model.safetensors", "config.json"
_FILE_SUFFIXES = (".ckpt", ".pt", ".pth", ".safetensors", ".pdparams", ".onnx", ".json", ".yaml")


def read_weights(source: str | Path, **hub: Any) -> tuple[ModelCard, dict[str, Tensor]]:
    """Card and state dict of a segmenter, on the CPU; of a checkpoint with a moving average, that average.

    Args:
        source: a `.ckpt` file, a folder that `save_pretrained` wrote, or, where no such path exists, a Hugging Face id
            'owner/name'.
        hub: of `huggingface_hub.hf_hub_download`, e.g. revision, token.

    Raises:
        UserError: nothing is there, or it is damaged or was not written by rtseg.
    """
    path = Path(source)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_checkpoint(path)
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


def weights_hash(module: nn.Module) -> str:
    """Names weights by their values, whatever file they came in; the auxiliary head does not count."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        if not key.startswith("aux_head."):
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


def _read_checkpoint(path: Path) -> tuple[ModelCard, dict[str, Tensor]]:
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
    prefix = "segmenter."
    own = {key: value for key, value in checkpoint["state_dict"].items() if key.startswith(prefix)}
    state = {key.removeprefix(prefix): value for key, value in own.items()}
    return _card(checkpoint["model_card"], path), checkpoint.get("ema_state_dict") or state


def _card(card: Any, path: Path) -> ModelCard:
    try:
        return ModelCard.from_dict(card)
    except UserError as error:
        raise UserError(f"'{path}': {error}") from None
