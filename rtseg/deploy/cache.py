"""The user's cache: files that take long to make, such as choices of engines and graphs of networks.

A cache that cannot be written to is no error: things are made again.
"""

import os
from contextlib import suppress
from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.paths import cache_folder


def kept(name: str) -> Path | None:
    """The file that `keep` wrote under this name; None without one. It counts as used now."""
    file = cache_folder() / name
    if not os.path.isfile(file):  # False also where the system refuses
        return None
    with suppress(OSError):
        os.utime(file)
    return file


def keep(name: str, content: bytes, most: int) -> Path | None:
    """Writes a file below the cache, and removes those of its folder that were used longest ago.

    Args:
        name: folder/file.
        most: files that stay in the folder.

    Returns:
        The file; None where it cannot be written.
    """
    file = cache_folder() / name
    try:
        make_folder(file.parent)
        write_whole(file, content)
        others = sorted(file.parent.glob(f"*{file.suffix}"), key=lambda path: path.stat().st_mtime)
        for old in others[:-most]:
            old.unlink(missing_ok=True)
    except (UserError, OSError):
        return None
    return file
