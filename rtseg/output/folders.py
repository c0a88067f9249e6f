"""Folders that results go to: nothing in them is overwritten unasked, and what stands in the way is named."""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rtseg.disk import refusal, refused
from rtseg.errors import UserError

LOCK = ".lock"  # ending of the files of `rtseg.output.lock`, which count as no content
_LONGEST_NAME = 255  # bytes, on the usual file systems


def check_empty(folder: Path, repair: str) -> None:
    """Checks that a folder is empty or does not exist yet. Nothing is made.

    Args:
        repair: what to do if it is not empty, for the error.

    Raises:
        UserError: the folder is not empty, or it is not a folder.
    """
    try:
        found = sorted(path.name for path in folder.iterdir() if not is_lock(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise _refusal(folder, error) from None
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(f"the folder '{folder}' is not empty, it holds {', '.join(found[:5])}{more}; {repair}")


def make_folder(folder: Path) -> None:
    """Makes a folder with its parents. If it exists, it must be writable.

    Raises:
        UserError: a file stands in the way, or the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _refusal(folder, error) from None


def check_place(folder: Path) -> None:
    """Checks, before anything is made, that `make_folder` would succeed.

    Raises:
        UserError: a file stands in the way, or the nearest folder that is there may not be written to.
    """
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise _refusal(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))


def check_results(folder: Path, overwrite: bool) -> None:
    """Raises: UserError where the folder cannot be written to, or holds something and `overwrite` is not given."""
    folder = folder.expanduser()
    check_place(folder)
    if not overwrite:
        check_empty(folder, "give another folder, or --overwrite to replace results in it")


def check_new_file(file: Path) -> None:
    """Raises: UserError where a file cannot be written, or something has its name."""
    check_place(file.parent)
    if os.path.lexists(file):
        raise UserError(f"'{file}' exists; give another name, or remove it")


def check_new_kind(option: str, file: Path | None, suffix: str) -> None:
    """Raises: UserError where a file that an option names ends otherwise, cannot be written, or is there."""
    if file is None:
        return
    if file.suffix.lower() != suffix:
        raise UserError(f"{option} {file}: give a name that ends in {suffix}")
    check_new_file(file.expanduser())


def missing_parents(folder: Path) -> list[Path]:
    """The folders that `make_folder` would make, the deepest first; the folder itself is one of them."""
    folder = folder.absolute()
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def beside(target: Path, ending: str) -> Path:
    """A hidden neighbour of a file or folder: `.name` and the ending, with a digest for a name that leaves no room."""
    name = f".{target.name}{ending}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}{ending}"
    return target.with_name(name)


def is_lock(path: Path) -> bool:
    """Whether a file only says that a command works here."""
    return path.name.startswith(".") and path.name.endswith(LOCK)


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A path beside a file that becomes that file at the end. If anything fails before, the older file stays.

    A link is followed: what it points to is replaced. The mode of a file that is replaced is kept.

    Raises:
        UserError: it is a folder, a device or a pipe; or the system refuses.
    """
    target = Path(os.path.realpath(file))
    mode = _mode_of_file(target, file)
    aside = beside(target, "-unfinished")
    try:
        yield aside
        if mode is not None:
            aside.chmod(mode)
        aside.replace(target)
    except UserError:
        raise
    except Exception as error:
        reason = refused(error) or error
        if not isinstance(reason, OSError):
            raise
        raise refusal(reason, file) from None
    finally:
        with suppress(OSError):
            aside.unlink()


def _mode_of_file(target: Path, asked: Path) -> int | None:
    """Mode of a file that is there; None where there is nothing."""
    try:
        mode = target.stat().st_mode
    except OSError:
        return None
    if stat.S_ISREG(mode):
        return stat.S_IMODE(mode)
    what = "a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
    raise UserError(f"'{asked}' is {what}, which is not replaced: give the name of a file")


def write_whole(file: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all, see `written_whole`. Text becomes UTF-8."""
    with written_whole(file) as aside:
        aside.write_bytes(content.encode() if isinstance(content, str) else content)


def replace_between(page: Path, begin: str, end: str, content: str) -> None:
    """Replaces what stands between two lines of a page, which stay.

    Raises:
        UserError: the page does not exist, or does not contain each line once.
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
        what = "file" if os.path.exists(nearest) else "link that leads nowhere"
        reason = f"'{nearest}' is a {what}; give another folder, or move that {what.split()[0]} away"
    return UserError(f"'{folder}' cannot be written to: {reason}")
