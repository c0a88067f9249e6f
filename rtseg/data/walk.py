"""The one way in which rtseg looks for files in a folder: data sets, `rtseg predict FOLDER` and patterns agree."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from rtseg.data.gathering import Search, listener
from rtseg.errors import UserError

_MOST_LEVELS = 100  # folders in folders


def find_files(folder: Path, suffixes: Iterable[str], pattern: str = "*") -> list[Path]:
    """The files of `folder` that match the glob pattern and a suffix (any case), sorted.

    Hidden files and folders (`.ipynb_checkpoints`) are left out. Links are followed, except one to a folder above it.

    Args:
        pattern: below the folder; `**` is any number of folders.

    Raises:
        UserError: a folder cannot be read.
    """
    wanted, matches = tuple(suffixes), _compiled(pattern).fullmatch
    deepest = _MOST_LEVELS if "**" in pattern else pattern.count("/") + 1
    try:
        names = [name for name in _below(folder, "", (), deepest) if name.lower().endswith(wanted) and matches(name)]
    except (FileNotFoundError, NotADirectoryError):  # whoever called says what it looked for
        names = []
    except OSError as error:  # a name that is too long, or no permission
        where = str(error.filename or folder)[:200]
        raise UserError(f"{where}: cannot be searched ({error.strerror}); give another folder") from None
    found = sorted(folder / name for name in names)
    if (gathered := listener()) is not None:
        gathered.searches.append(Search(folder, wanted, found))
    return found


def _below(folder: Path, prefix: str, above: tuple[tuple[int, int], ...], levels: int) -> Iterator[str]:
    """Names of the files below a folder, relative to it.

    Args:
        prefix: of the names.
        above: device and inode of the folders on the way here.
        levels: how many folders deep; 1 is the folder itself.
    """
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link that leads back
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if _leads_to(entry.is_file):
                yield prefix + entry.name
            elif levels > 1 and _leads_to(entry.is_dir):
                yield from _below(folder / entry.name, f"{prefix}{entry.name}/", (*above, here), levels - 1)


def _leads_to(kind: Callable[[], bool]) -> bool:
    """False also for a link to itself."""
    try:
        return kind()
    except OSError:
        return False


def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob pattern as a regular expression."""
    plain = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[!?[^\]/]+\])", pattern)
    return re.compile("".join(plain.get(part) or _literal_or_set(part) for part in parts))


def _literal_or_set(part: str) -> str:
    """`[!ab]` -> `[^ab]`; other text stands for itself."""
    if part[:1] != "[" or part[-1:] != "]":
        return re.escape(part)
    inside, negated = part[1:-1].removeprefix("!"), part[1] == "!"
    return "[" + "^" * negated + re.sub(r"([\\^])", r"\\\1", inside) + "]"
