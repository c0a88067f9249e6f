"""The user's cache: files that take long to make, such as choices of engines and graphs of networks.

A cache that cannot be written to is no error: things are made again.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from rtseg.errors import UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.output.lock import locked_target
from rtseg.paths import cache_folder

PATIENCE = 180.0  # seconds that a process waits for another one, which takes a minute for what both want


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


@contextmanager
def alone(name: str, doing: str) -> Iterator[None]:
    """While the block runs, other processes that want the same wait for its end, for a bounded time.

    Where the cache cannot be written to, or the wait is over, the block runs all the same.

    Args:
        name: folder/file of what is made, or of what only one process at a time shall do.
        doing: what the other process does, for a line that is said while this one waits.
    """
    with ExitStack() as stack:
        with suppress(UserError):
            waiting = f"waiting for another process, which {doing}"
            stack.enter_context(locked_target(cache_folder() / name, patience=PATIENCE, waiting=waiting))
        yield
