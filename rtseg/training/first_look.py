"""What can be said of a training's command line before torch and Lightning are imported, which takes seconds."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from rtseg.configs import CONFIGS, with_found_configs
from rtseg.errors import UserError
from rtseg.output.folders import check_place
from rtseg.paths import check_exists, check_network, missing
from rtseg.terminal import say
from rtseg.training.help import Page

_NOTHING = ("", "null")


def look(
    command: str,
    args: Sequence[str],
    pages: Mapping[str, Page],
    shipped: Path = CONFIGS,
    check_weights: Callable[[str], None] = check_network,
) -> None:
    """Shows the help of `fit`, `validate` or `test` where it is asked for, and ends; else looks at the paths.

    Args:
        args: the flags behind the command.
        pages: the help by command.
        shipped: folder of the configurations that `--config` finds by name.
        check_weights: refuses a bad `--model.weights`.

    Raises:
        UserError: see `check_flags`.
        SystemExit: after the help.
    """
    if {"-h", "--help"} & set(args):
        say(pages[command])
        raise SystemExit(0)
    check_flags(args, shipped, check_weights)


def check_flags(
    args: Sequence[str], shipped: Path = CONFIGS, check_weights: Callable[[str], None] = check_network
) -> None:
    """Looks at the paths among the flags of `fit`, `validate` or `test`.

    Args:
        shipped: folder of the configurations that `--config` finds by name.
        check_weights: refuses a bad `--model.weights`.

    Raises:
        UserError: one leads nowhere, or the run's folder cannot be written to.
    """
    with_found_configs(args, shipped)
    # Of a flag that is given twice the last counts.
    for checkpoint in values("--ckpt_path", args)[-1:]:
        check_checkpoint(checkpoint)
    for weights in values("--model.weights", args)[-1:]:
        check_weights(weights)
    for root in values("--data.root", args)[-1:]:
        if "://" not in root:  # shards may lie on a server
            check_exists(root, "Give the folder of a data set with --data.root, see docs/data.md.")
    for output in values("--output", args)[-1:]:
        check_place(Path(output))


def values(flag: str, args: Sequence[str]) -> list[str]:
    """What is given for a flag, as in `--flag value` and `--flag=value`, in this order; null is nothing."""
    found = []
    for word, following in pairwise([*args, ""]):
        if word == flag:
            found.append(following)
        elif word.startswith(f"{flag}="):
            found.append(word.removeprefix(f"{flag}="))
    return [value for value in found if value not in _NOTHING]


def check_checkpoint(path: str) -> None:
    """Raises: UserError where there is no such file."""
    if os.path.isdir(path):
        found = sorted(file.name for file in Path(path).glob("*.ckpt") if not file.name.startswith("."))
        inside = f"Give a checkpoint in it: {', '.join(found)}." if found else "There is no checkpoint in it."
        raise UserError(f"--ckpt_path={path} is a folder. {inside}")
    if not os.path.isfile(path):
        raise UserError(f"--ckpt_path: {missing(path)}")
