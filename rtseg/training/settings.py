"""The settings that a resumed training must keep: every checkpoint records them.

All arguments of a module and its data count, except those that they call free. So a new argument is compared without a
change here.
"""

import json
import shlex
from collections.abc import Iterable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

from rtseg.errors import UserError

TRAINER = (
    "precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches",
    "overfit_batches",
)  # fmt: skip
# What trainings did before there was a setting for it: so these are compared with a checkpoint that lacks them.
_EARLIER = {"data.reduced": False, "data.upsampling": "once", "data.channels": None}
_FACTS = ("data.images", "data.classes", "data.ids")  # that the files say, and no flag
_MOST = 60  # characters of a value in a message


class Difference(NamedTuple):
    """One setting of a checkpoint and of the training that resumes it."""

    key: str
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        theirs, ours = self.theirs, self.ours
        if isinstance(theirs, list) and isinstance(ours, list) and len(str(theirs)) > _MOST:
            changed = next((k for k, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), None)
            if changed is not None:
                return f"{self.key}[{changed}]={ours[changed]} differs from the checkpoint's {theirs[changed]}"
        return f"{self.key}={_short(ours)} differs from the checkpoint's {_short(theirs)}"

    def flag(self) -> str | None:
        """The flag that gives the checkpoint's setting, for a shell; None where it is long, or not a setting."""
        if self.key in _FACTS or len(str(self.theirs)) > _MOST:
            return None
        key = "seed_everything" if self.key in ("data.seed", "model.seed") else self.key
        return shlex.quote(f"--{key}={self.theirs if isinstance(self.theirs, str) else json.dumps(self.theirs)}")


def flat(part: str, arguments: Mapping[str, Any], free: Iterable[str]) -> dict[str, Any]:
    """'model', {'optim': {'lr': 1}, 'seed': 0} -> {'model.optim.lr': 1, 'model.seed': 0}, in plain values.

    Args:
        free: arguments that are left out, because they do not change what is trained.
    """
    found: dict[str, Any] = {}
    for name, value in arguments.items():
        if name not in free:
            group = value if isinstance(value, Mapping) else {"": value}
            found |= {f"{part}.{name}.{key}".rstrip("."): plain(entry) for key, entry in group.items()}
    return found


def plain(value: Any) -> Any:
    """The value as a checkpoint and JSON keep it: a tuple is a list."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return plain(value.value) if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


def changes(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[Difference]:
    """The settings that differ. Of those that an older checkpoint lacks only `_EARLIER` are compared."""
    theirs = _EARLIER | dict(theirs)
    return [Difference(key, theirs[key], ours[key]) for key in ours if key in theirs and theirs[key] != ours[key]]


def check_same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Compares the settings of a checkpoint with those of the training that resumes it.

    Raises:
        UserError: some differ; the message has each of them, and what to give.
    """
    found = changes(theirs, ours)
    of_data = {change.key for change in found}
    found = [change for change in found if change.key.replace("model.", "data.") not in of_data - {change.key}]
    if not found:
        return
    flags = " ".join(dict.fromkeys(flag for change in found if (flag := change.flag())))
    raise UserError(
        "--ckpt_path resumes a training, and this would be another one:\n"
        + "".join(f"  {change}\n" for change in found)
        + f"Give the same{f': {flags}' * bool(flags)}. {SECOND_ROUND}"
    )


SECOND_ROUND = (
    "For a second round, a new training from its weights: --model.weights=RUN/last.ckpt instead of --ckpt_path, and "
    "another --output"
)


def check_length(begun: int | None, reached: int, total: int, *, longer: bool, epochs: int | None = None) -> None:
    """Compares the lengths of the schedule, in optimizer steps.

    Args:
        begun: length that the training began with; None: an older checkpoint does not say.
        reached: the checkpoint's step.
        total: length now.
        longer: whether a training that has ended may be given more steps.
        epochs: number of epochs in `total`, where they alone decide it.

    Raises:
        UserError: the lengths differ otherwise.
    """
    if total == begun or (begun is None and total >= reached):
        return
    if longer and begun is not None and reached >= begun and total > begun:
        return
    if begun is None:
        raise UserError(
            f"the checkpoint has {reached} steps already, now the training is {total}: give trainer.max_epochs and "
            f"max_steps as they were. {SECOND_ROUND}"
        )
    raise UserError(
        f"the training was begun for {begun} steps, now it is {total}: the learning rate falls over the whole of them, "
        f"so give the same: {_length_flags(begun, total, epochs)} (the checkpoint stands at step {reached}). "
        f"{SECOND_ROUND}"
    )


def _length_flags(begun: int, total: int, epochs: int | None) -> str:
    """The flags that make a training `begun` steps long."""
    if epochs and begun * epochs % total == 0:
        return f"--trainer.max_epochs={begun * epochs // total}"
    return f"--trainer.max_steps={begun} --trainer.max_epochs=-1"


def _short(value: Any) -> str:
    return text if len(text := str(value)) <= _MOST else text[: _MOST - 4] + " ..."
