"""What can be said of a training's command line before torch and Lightning are imported, which takes seconds."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rtseg.configs import CONFIGS, with_found_configs
from rtseg.errors import UserError, nearest
from rtseg.output.folders import check_new_kind, check_place
from rtseg.output.lock import locked_folder
from rtseg.paths import check_exists, check_network, missing
from rtseg.terminal import say
from rtseg.training.help import Page
from rtseg.training.results import check_no_results
from rtseg.training.typed import Configs, check_words, values

_DATA = "Give the folder of a data set with --data.root, see docs/data.md."


def look(
    command: str,
    args: Sequence[str],
    pages: Mapping[str, Page],
    shipped: Path = CONFIGS,
    check_weights: Callable[[str], None] = check_network,
) -> None:
    """Shows the help of `fit`, `validate` or `test` where it is asked for, and ends; else looks at flags and paths.

    Args:
        args: the flags behind the command.
        pages: the help by command.
        shipped: folder of the configurations that `--config` finds by name.
        check_weights: refuses a bad `--model.weights`.

    Raises:
        UserError: see `check_words` and `check_flags`.
        SystemExit: after the help.
    """
    if {"-h", "--help"} & set(args):
        say(pages[command])
        raise SystemExit(0)
    if "--help-all" not in args:
        check_words(args, pages[command])
    check_flags(args, shipped, check_weights, trains=command == "fit")


def check_flags(
    args: Sequence[str],
    shipped: Path = CONFIGS,
    check_weights: Callable[[str], None] = check_network,
    *,
    trains: bool = False,
) -> None:
    """Looks at the paths among the flags of `fit`, `validate` or `test`, and in their configurations.

    Args:
        shipped: folder of the configurations that `--config` finds by name.
        check_weights: refuses a bad `--model.weights`.
        trains: the run's folder will be written to.

    Raises:
        UserError: one leads nowhere, or the run's folder cannot be written to, or holds results; or a file of scores
            is there.
    """
    configs = Configs(with_found_configs(args, shipped))
    # Of a flag that is given twice the last counts.
    for checkpoint in values("--ckpt_path", args)[-1:]:
        check_checkpoint(checkpoint)
    for weights in values("--model.weights", args)[-1:]:
        check_weights(weights)
    given = values("--data.root", args)[-1:]
    if not given and not values("--data", args) and isinstance(root := configs.get("data.root"), str):
        given = [root]
    for root in given:
        if "://" not in root:  # shards may lie on a server
            check_exists(os.path.expanduser(root), _DATA)
    for output in values("--output", args)[-1:]:
        check_place(Path(output))
    for option, suffix in (("-o", ".json"), ("--scores", ".json"), ("--picture", ".png")):
        for file in values(option, args)[-1:]:
            check_new_kind(option, Path(file), suffix)
    if trains:
        _check_run_folder(args, configs)


def _check_run_folder(args: Sequence[str], configs: Configs) -> None:
    """A new training in a folder with results; of a resumed one the checkpoint decides, which is read with torch."""
    if values("--ckpt_path", args) or configs.get("ckpt_path"):
        return
    if configs.get("trainer.fast_dev_run") or any("fast_dev_run" in word for word in args):  # it writes nothing
        return
    named = values("--output", args)[-1:] or [configs.get("output")]
    output = Path(named[0]) if named[0] else Path("runs", configs.files[0].stem) if configs.files else None
    if output is None or not output.is_dir():
        return
    try:
        check_no_results(output)
    except UserError:
        with locked_folder(output):  # whoever works there is said first
            raise


def check_checkpoint(path: str) -> None:
    """Raises: UserError where there is no such file."""
    if os.path.isdir(path):
        found = sorted(file.name for file in Path(path).glob("*.ckpt") if not file.name.startswith("."))
        inside = (
            f"Give a checkpoint in it: {nearest(found, 'best.ckpt')}." if found else "There is no checkpoint in it."
        )
        raise UserError(f"--ckpt_path={path} is a folder. {inside}")
    if not os.path.isfile(path):
        raise UserError(f"--ckpt_path: {missing(path)}")
