"""The flags of a training as they were typed, and the settings of its configuration files, without the parser.

It imports nothing heavy. What only the parser knows is left to it.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Any

from rtseg.errors import UserError
from rtseg.training.help import Page
from rtseg.yaml_file import read_yaml

RESUME = ("resume", "resume_from", "resume_from_checkpoint")  # what other programs call --ckpt_path
_ALONE = ("auto", "help", "help-all", "print_config")  # flags without a value
# The first parts of keys that the parser knows beside those that the help shows.
_GROUPS = {*_ALONE, "trainer", "optimizer", "lr_scheduler", "fps", "verbose", "weights_only"}
_NOTHING = ("", "null")


def values(flag: str, args: Sequence[str]) -> list[str]:
    """What is given for a flag, as in `--flag value` and `--flag=value`, in this order; null is nothing."""
    found = []
    for word, following in pairwise([*args, ""]):
        if word == flag:
            found.append(following)
        elif word.startswith(f"{flag}="):
            found.append(word.removeprefix(f"{flag}="))
    return [value for value in found if value not in _NOTHING]


def check_words(args: Sequence[str], page: Page) -> None:
    """Refuses words that belong to no flag, flags without a value, and names of flags that hardly can be meant.

    Args:
        args: the flags behind the command.
        page: the help of the command.

    Raises:
        UserError: with the flag that is meant.
    """
    rest = iter(args)
    has_value = True  # the flag before: a word behind it belongs to none
    for word in rest:
        if not word.startswith("-"):
            if has_value:
                raise UserError(
                    f"'{word}' belongs to no flag: give a configuration as --config NAME, a checkpoint as "
                    f"--ckpt_path FILE ({page.command} --help lists the flags)"
                )
            continue  # a list in several words: the parser knows which
        name, is_whole, _ = word.partition("=")
        key = name.lstrip("-")
        _check_key(key, page)
        has_value = bool(is_whole) or key in _ALONE
        if not has_value:
            value = next(rest, None)
            if value is None or value.startswith("--"):
                means = next((f": {setting.text}" for setting in page.settings if setting.key == key), "")
                raise UserError(f"{name} needs a value{means}")


def _check_key(key: str, page: Page) -> None:
    """Only where the help shows what is meant: the parser knows many more keys."""
    if key in RESUME:
        raise UserError(f"unknown flag --{key}; to resume a training: --ckpt_path RUN/last.ckpt")
    known = [setting.key for setting in page.settings]
    if key == "c" or key.partition(".")[0].rstrip("+") in {*_GROUPS, *(name.partition(".")[0] for name in known)}:
        return
    ends = {name.rpartition(".")[2]: name for name in reversed(known)}
    if near := get_close_matches(key.replace("-", "_").rpartition(".")[2], ends, n=1):
        raise UserError(f"unknown flag --{key}. Did you mean --{ends[near[0]]}? (all keys: {page.command} --help-all)")


class Configs:
    """The configuration files of a command line, the last first.

    Args:
        args: a command line in which each `--config` names an existing file, or is YAML itself.

    Raises:
        UserError: a file is not valid YAML.
    """

    def __init__(self, args: Sequence[str]) -> None:
        given = [value for word in ("--config", "-c") for value in values(word, args)]
        self.files = [Path(value) for value in given if "\n" not in value and Path(value).is_file()]
        # Where YAML itself is given, only the parser knows which of two values counts.
        self._contents = (
            [(file, read_yaml(file)) for file in reversed(self.files)] if len(self.files) == len(given) else []
        )

    def get(self, key: str) -> Any:
        """The value of a setting such as "data.root"; None where no file has it."""
        return next((found for file, content in self._contents for found in _look_up(file, content, key)), None)


def _look_up(file: Path, content: Any, key: str) -> Iterator[Any]:
    """The setting in one file: as it stands, or below its groups, each of which may be a file of its own."""
    if not isinstance(content, Mapping):
        return
    if key in content:
        yield content[key]
        return
    group, _, rest = key.partition(".")
    inner = content.get(group) if rest else None
    if isinstance(inner, str) and (beside := file.parent / inner).is_file():
        yield from _look_up(beside, read_yaml(beside), rest)
    else:
        yield from _look_up(file, inner, rest)
