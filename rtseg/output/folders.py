"""Folders that results go to: nothing in them is overwritten unasked, and what stands in the way is named."""

import errno
import os
from pathlib import Path

from rtseg.errors import UserError


def check_empty(folder: Path, repair: str) -> None:
    """Nothing may stand where results are to go; a folder that does not exist yet is fine, and is not made.

    Args:
        repair: what to do where it holds something, for the error.

    Raises:
        UserError: it holds something, or is no folder.
    """
    try:
        found = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(folder, error) from None
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(f"the folder '{folder}' is not empty, it holds {', '.join(found[:5])}{more}; {repair}")


def make_folder(folder: Path) -> None:
    """Makes a folder with its parents; one that is there must be writable.

    Raises:
        UserError: a file stands in the way, or the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _refusal(folder, error) from None


def write_whole(file: Path, content: str | bytes) -> None:
    """Writes aside and renames, so that a run that is broken off leaves the older file or none, but no half. Text
    becomes UTF-8.
    """
    aside = file.with_name(f".{file.name}-unfinished")
    aside.write_bytes(content.encode() if isinstance(content, str) else content)
    aside.replace(file)


def replace_between(page: Path, begin: str, end: str, content: str) -> None:
    """Replaces what stands between two lines of a page, which stay.

    Raises:
        UserError: there is no such page, or the lines are not in it once each.
    """
    try:
        text = page.read_text()
    except OSError as error:
        raise UserError(f"'{page}' cannot be read: {error.strerror}") from None
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UserError(f"'{page}' must hold one line '{begin}' and below it one line '{end}'; the table goes between")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    write_whole(page, f"{before}{begin}\n\n{content}\n\n{after}")


def _refusal(folder: Path, error: OSError) -> UserError:
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if os.path.isdir(nearest):
        reason = f"{error.strerror} ('{nearest}'); give a folder that you may write to"
    else:
        reason = f"'{nearest}' is a file; give another folder, or move that file away"
    return UserError(f"'{folder}' cannot be written to: {reason}")
