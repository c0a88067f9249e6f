"""Checkpoints of a training: written whole or not at all, and resumed only by the model that wrote them."""

import os
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import lightning as L
import torch
from jsonargparse import Namespace
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from rtseg.attention.insertion import as_insertion
from rtseg.errors import UserError, nearest
from rtseg.models.checkpoint_file import RESUMED, SCORED, load_checkpoint
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter, differences
from rtseg.models.weights_folder import read_card
from rtseg.output.folders import make_folder, written_whole
from rtseg.training.finite import few, named_tensors, not_finite


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames, so that a cut training or a full disk leaves the older file as it was.

    A file that is damaged is refused when it is read.

    Lightning's own writes to the system's temporary folder, and from another file system a move is a copy.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Raises: UserError where a weight, or the optimizer's state, is not finite; an older file stays."""
        target = Path(path)
        parts = {key: checkpoint.get(key) for key in ("state_dict", "ema_state_dict", "optimizer_states")}
        if names := not_finite(named_tensors(parts)):
            raise UserError(
                f"{target} is not written: {few(names)} would not be finite. An older file of that name stays as it "
                "is; begin a new training from it with --model.weights and a lower model.optim.lr"
            )
        make_folder(target.parent)
        with written_whole(target) as aside, aside.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Checked for damage, on the CPU. Not mapped: a resumed training keeps its tensors for days.

        Raises:
            UserError: it is damaged.
        """
        return load_checkpoint(path, SCORED, flag="--ckpt_path")


class BestCheckpoint(ModelCheckpoint):
    """`best.ckpt`: the best value of `monitor` so far, the highest unless `mode` is "min"."""

    def __init__(self, folder: str | Path, monitor: str, mode: str = "max") -> None:
        super().__init__(folder, filename="best", monitor=monitor, mode=mode, enable_version_counter=False)

    def check_monitor_top_k(self, trainer: L.Trainer, current: Tensor | None = None) -> bool:
        """Lightning takes the first score whatever it is; one that is not finite says nothing."""
        return current is not None and bool(current.isfinite()) and super().check_monitor_top_k(trainer, current)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Lightning forgets the best score where the folder has another name than when it was written.

        There is none yet where the file is of a later validation than this state: it will be written again.
        """
        best, score = Path(str(self.dirpath), "best.ckpt"), state_dict["best_model_score"]
        if best.is_file() and score is not None:
            own = {"dirpath": self.dirpath, "best_model_path": str(best), "kth_best_model_path": str(best)}
            state_dict = {**state_dict, **own, "best_k_models": {str(best): score}}
        super().load_state_dict(state_dict)


def read_header(path: str | None, *, resumes: bool = False) -> dict[str, Any] | None:
    """What a checkpoint says of its model and its step, or None where no file is named.

    Args:
        resumes: a training is to be resumed from it, which needs more than its weights.

    Raises:
        UserError: there is no such file, or it is damaged or no checkpoint of rtseg.
    """
    if path is None:
        return None
    if not Path(path).is_file():
        folder = Path(path).parent
        names = sorted(p.name for p in folder.glob("*.ckpt") if p.name[0] != ".")
        found = (
            nearest(names, Path(path).name) or f"no .ckpt in '{folder}'" if folder.is_dir() else f"no folder '{folder}'"
        )
        raise UserError(f"--ckpt_path={path} does not exist; found: {found}")
    file = os.stat(path)
    return deepcopy(_header(path, resumes, (file.st_mtime_ns, file.st_size, file.st_ino)))


@lru_cache(maxsize=2)
def _header(path: str, resumes: bool, written: tuple[int, int, int]) -> dict[str, Any]:
    """Read once: looking for damage reads the whole file, and a command asks for its header at several places.

    Args:
        written: what is another where the file was written again.
    """
    checkpoint = load_checkpoint(path, RESUMED if resumes else SCORED, mmap=True, flag="--ckpt_path")
    read_card(checkpoint["model_card"], Path(path))  # for the error, which names the file
    optional = {key: checkpoint.get(key, {}) for key in ("hyper_parameters", "settings")}
    optional["world_size"] = checkpoint.get("world_size", 0)  # 0: an older checkpoint does not say
    optional["total_steps"] = checkpoint.get("total_steps")
    return {key: checkpoint[key] for key in ("global_step", "model_card")} | optional


def recorded_settings(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a score depends on, as the checkpoint was trained, by flag. Of `read_header`'s."""
    card = ModelCard.from_dict(checkpoint["model_card"]).to_dict()
    model = {"name": card["model"], "ema_decay": checkpoint["hyper_parameters"].get("ema_decay", 0.0)}
    model |= {key: card[key] for key in ("attention", "head", "insert", "options")}
    of_model = {f"model.{key}": value for key, value in model.items()}
    of_data = {"data.dataset": card["dataset"], "data.eval_resize": card["eval_resize"]}
    of_data["data.upsampling"] = card["upsampling"]
    return of_model | of_data | {k: v for k, v in checkpoint["settings"].items() if k.startswith("data.")}


def check_model(asked: Namespace, checkpoint: dict[str, Any]) -> None:
    """The model that the command line asks for is the one of the checkpoint.

    Raises:
        UserError: it is another; the message says in what.
    """
    card = ModelCard.from_dict(checkpoint["model_card"])
    insertion = as_insertion(asked.insert)
    asked_card = ModelCard(
        asked.name, asked.attention, card.num_classes, asked.options or {}, head=asked.head, insert=insertion,
        channels=card.channels, mean=card.mean, std=card.std,
    )  # fmt: skip
    if insertion:
        with torch.device("meta"):
            asked_card = Segmenter(asked_card).card  # without patterns
    found = differences(card, asked_card)
    check_same_model({"name" if key == "model" else key: values for key, values in found.items()})


def check_same_model(unlike: Mapping[str, tuple[Any, Any]]) -> None:
    """Refuses a checkpoint of another model.

    Args:
        unlike: flag of the model -> value of the checkpoint, and of the command line, where they differ.

    Raises:
        UserError: some do.
    """
    differ, repairs = [], []
    for flag, (theirs, ours) in unlike.items():
        differ.append(f"model.{flag}={ours} differs from the checkpoint's {theirs}")
        repairs.append("give the same options" if flag == "options" else f"set --model.{flag}={theirs}")
    if unlike:
        raise UserError(
            f"{'; '.join(differ)}; a checkpoint keeps its own model: {', '.join(repairs)}, or start a new training "
            "from its weights with --model.weights"
        )
