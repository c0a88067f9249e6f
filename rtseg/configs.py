"""The configurations that rtseg ships, found by name from any folder.

It is imported before PyTorch, and imports nothing heavy.
"""

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path

from rtseg.errors import UserError, nearest

_INSTALLED = Path(__file__).with_name("shipped_configs")  # setup.py puts configs/ there
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1] / "configs"
# That may stand before a name, as in the repository.
_FOLDERS = ((), ("configs",), ("configs", "stereo"), ("pretrain", "configs"))
COMMANDS = {"rtseg fit": CONFIGS, "rtseg stereo fit": CONFIGS / "stereo", "rtseg instances fit": CONFIGS / "instances"}
_FLAGS = ("--config", "-c")
_MOST = 3  # near names in an error


def list_configs(shipped: Path = CONFIGS) -> dict[str, str]:
    """Name of each configuration, with the first sentence of its header.

    Args:
        shipped: folder of the configurations.
    """
    return {file.stem: _first_sentence(file) for file in sorted(shipped.glob("*.yaml"))}


def _first_sentence(file: Path) -> str:
    header = file.read_text(encoding="utf-8").partition("\n#\n")[0]
    lines = [line.lstrip("# ") for line in header.splitlines() if line.startswith("#")]
    return re.split(r"(?<=\.)\s", " ".join(lines))[0]


def find_config(name: str | Path, shipped: Path = CONFIGS, verb: str = "fit") -> Path:
    """The file of a configuration.

    A path that exists wins. Otherwise it is the name of a shipped configuration, with or without `configs/` before and
    `.yaml` after it. A folder is returned only where no configuration has its name.

    Args:
        name: path or name.
        shipped: folder of the configurations.
        verb: the last word of the command that asks, which other kinds of networks have too.

    Raises:
        UserError: there is neither; the message has the command that takes it, or the names that are near.
    """
    path = Path(name)
    is_folder = os.path.isdir(path)
    if os.path.exists(path) and not is_folder:
        return path
    stem = path.name.removesuffix(".yaml")
    if path.parent.parts in _FOLDERS and os.path.isfile(own := shipped / f"{stem}.yaml"):
        return own
    if is_folder:
        return path
    for command, folder in COMMANDS.items():
        if folder != shipped and os.path.isfile(folder / f"{stem}.yaml"):
            other = f"{command.removesuffix('fit')}{verb}"
            raise UserError(f"--config: there is no file '{name}'; {stem} is a configuration of `{other}`")
    names = [file.stem for file in sorted(shipped.glob("*.yaml"))]
    beside = [str(file) for pattern in ("*.yaml", "*.yml") for file in sorted(path.parent.glob(pattern))]
    near = get_close_matches(str(path), beside, n=_MOST) or get_close_matches(stem, names, n=_MOST)
    shipped_names = f"Shipped are {nearest(names, stem)}; `rtseg list configs` lists all."
    hint = f"Did you mean {' or '.join(near)}?" if near else shipped_names
    raise UserError(f"--config: there is no file '{name}', and no shipped configuration of this name. {hint}")


def with_found_configs(args: Sequence[str], shipped: Path = CONFIGS) -> list[str]:
    """A command line of `fit`, `validate` or `test` in which each `--config` names an existing file.

    Settings that are given in place of a file, as `--config 'trainer: {max_steps: 9}'`, stay.

    Raises:
        UserError: see `find_config`; or it is no file.
    """
    found: list[str] = []
    for before, word in pairwise(["", *args]):
        flag, is_flag, value = word.partition("=")
        if before in _FLAGS and not _is_yaml(word):
            found.append(_find_file(word, shipped))
        elif flag in _FLAGS and is_flag and not _is_yaml(value):
            found.append(f"--config={_find_file(value, shipped)}")
        else:
            found.append(word)
    return found


def _find_file(name: str, shipped: Path) -> str:
    file = find_config(name, shipped)
    if not file.is_file():  # a pipe would be waited for
        raise UserError(f"--config: '{file}' is a folder, pipe or device; give a YAML file")
    return str(file)


def _is_yaml(value: str) -> bool:
    return ": " in value or "{" in value or "\n" in value
