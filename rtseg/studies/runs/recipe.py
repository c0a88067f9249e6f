"""What all trainings of a study share: the configuration, the data, the number of epochs."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.output.folders import write_whole
from rtseg.studies.runs.task import SEGMENTATION, Task
from rtseg.studies.runs.training import Training
from rtseg.yaml_file import read_yaml

_FLAGS = ("--model.", "--data.", "--trainer.")
_OWN_FLAGS = (
    *("--model.attention", "--model.name", "--data.root", "--trainer.max_epochs", "--trainer.max_steps"),
    *("--trainer.val_check_interval", "--trainer.check_val_every_n_epoch", "--trainer.logger"),
)


@dataclass(frozen=True)
class Recipe:
    """A configuration of a `rtseg ... fit`, its data and what is set for all trainings.

    Attributes:
        config: a configuration of `rtseg fit`.
        data: folder of its data set.
        flags: further flags of `rtseg fit`, such as "--trainer.precision=bf16-mixed".
        task: what is trained.
    """

    model: str
    config: Path
    data: Path
    epochs: int
    flags: tuple[str, ...] = ()
    task: Task = SEGMENTATION

    def __post_init__(self) -> None:
        check_at_least("--epochs", self.epochs, 1)
        read_settings(self.config)
        if not self.data.exists():
            raise UserError(f"--data {self.data}: no such folder; give the data set's")
        for flag in self.flags:
            name = flag.partition("=")[0]
            if name.startswith("--fps."):
                raise UserError(f"'{name}' has no effect here: trainings of a comparison do not time; leave it out")
            if not flag.startswith(_FLAGS) or "=" not in flag:
                raise UserError(
                    f"'{flag}' is not an option of this command; flags of `{self.task.fit}` are passed on as "
                    f"--data.key=value, and likewise {', '.join(f'{prefix}*' for prefix in _FLAGS)}"
                )
            if name in _OWN_FLAGS:
                raise UserError(f"'{name}' is set by the comparison itself; leave it out")
            if f"{name}.".startswith("--model.insert."):
                raise UserError(f"'{name}': what is inserted makes a row; give it as --insert 'PLACE=ATTENTION'")

    @classmethod
    def of_options(
        cls,
        model: str,
        config: Path,
        data: Path | None,
        epochs: int | None,
        flags: Sequence[str],
        task: Task = SEGMENTATION,
    ) -> Self | None:
        """What a command's options ask for; None where they ask for no training.

        Args:
            config: of `rtseg fit`.

        Raises:
            UserError: data without epochs or the other way round, or flags without both.
        """
        if data is None and epochs is None:
            if flags:
                raise UserError(f"'{flags[0]}' is not an option, or one of trainings, which need --data and --epochs")
            return None
        if data is None or epochs is None:
            raise UserError("trainings need a data set and a length: --data DIR --epochs N")
        return cls(model, config, data, epochs, tuple(flags), task)

    def to_dict(self) -> dict[str, Any]:
        """JSON types; of the configuration its settings, since they decide, and not its comments."""
        return {
            "model": self.model,
            "config": read_settings(self.config),
            "data": str(self.data),
            "epochs": self.epochs,
            "flags": list(self.flags),
        }

    def command(self, training: Training) -> list[str]:
        """The words behind `rtseg` for one training, resumed from its last checkpoint where it has one."""
        network, last = training.variant, training.folder / "last.ckpt"
        keys = {"name": network.model or self.model, "attention": network.attention}
        # As a whole, so that it replaces what the configuration inserts.
        inserted = [] if network.insert is None else [f"--model.insert={json.dumps(network.insert)}"]
        return [
            *self.task.words,
            f"--config={self.config}",
            *self.flags,  # before what is set here: of two values the later one holds
            f"--output={training.folder}",
            *(f"--model.{key}={keys[key]}" for key in self.task.keys),
            *inserted,
            *(f"--model.options.{key}={value}" for key, value in network.options.items()),
            f"--data.root={self.data}",
            f"--seed_everything={training.seed}",
            *self.task.flags,
            *("--trainer.max_steps=-1", f"--trainer.max_epochs={self.epochs}"),
            # The last epoch must be scored, whatever the configuration says.
            *("--trainer.val_check_interval=1.0", f"--trainer.check_val_every_n_epoch={_interval(self.epochs)}"),
            *([f"--ckpt_path={last}"] if last.is_file() else []),
        ]


def _interval(epochs: int) -> int:
    """Epochs between validations, with their checkpoints: about five of them, the last at the very end."""
    divisors = [every for every in range(1, max(1, epochs // 2) + 1) if epochs % every == 0]
    return min(divisors, key=lambda every: abs(math.log(5 * every / epochs)))


def read_settings(config: Path, above: tuple[Path, ...] = ()) -> Any:
    """A configuration's settings, those of the files that it names for a part (`data: data/ade20k.yaml`) included.

    Raises:
        UserError: a file that cannot be read, or is part of itself.
    """
    if config.resolve() in above:
        raise UserError(f"--config: '{config}' names itself as a part of it")
    try:
        settings = read_yaml(config)
    except UserError as error:
        raise UserError(f"--config: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"--config: '{config}' does not contain settings; give a configuration of `rtseg fit`")
    parts = {key: value for key, value in settings.items() if isinstance(value, str) and value.endswith(".yaml")}
    return settings | {
        key: read_settings(config.parent / value, (*above, config.resolve())) for key, value in parts.items()
    }


def check_recipe(recipe: Recipe, file: Path) -> None:
    """All trainings of a folder have one recipe, which is written to `file`; it binds once there is a checkpoint, so
    that a recipe with a slip in it can be given anew.

    Raises:
        UserError: this is another, or the file is damaged.
    """
    ours = {**recipe.to_dict(), "data": str(recipe.data.resolve())}
    if file.is_file() and list(file.parent.glob("*_seed*/*.ckpt")):
        try:
            theirs = dict(json.loads(file.read_text()))
        except (ValueError, TypeError) as error:
            raise UserError(f"'{file}' is damaged ({error}): give another folder by -o") from None
        different = [key for key in ours if ours[key] != theirs.get(key)]
        if different:
            what = ", ".join(
                "other settings in the config" if key == "config" else f"{key} {theirs.get(key)}, not {ours[key]}"
                for key in different
            )
            raise UserError(
                f"'{file.parent}' holds trainings of another recipe ({what}): they must share it to be compared. "
                "Give the same one, or another folder by -o"
            )
    else:
        write_whole(file, json.dumps(ours, indent=2) + "\n")
