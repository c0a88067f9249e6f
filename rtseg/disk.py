"""One sentence for a disk that is full, read-only, over quota or broken."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtseg.errors import UserError

_REPAIRS = {
    errno.ENOSPC: "make room there, or choose another folder",
    errno.EDQUOT: "make room there or have the quota raised, or choose another folder",
    errno.EFBIG: "choose a folder on a file system that takes larger files, or raise the limit (ulimit -f)",
    errno.EROFS: "choose a folder that can be written to",
    errno.EIO: "the disk may be broken: look into the system's log, and choose another folder",
}


def refused(error: BaseException | None) -> OSError | None:
    """The disk's error behind an error, or None: torch.save turns it into a RuntimeError."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REPAIRS:
            return error
        error = error.__cause__ or error.__context__
    return None


def disk_is_full(error: BaseException) -> bool:
    """Whether no other file could be written either: full or read-only. A broken place may concern one file alone."""
    reason = refused(error)
    return reason is not None and reason.errno != errno.EIO


def refusal(error: OSError, place: Path) -> UserError:
    """The error for a file or folder that cannot be written: the system's reason, the free space, what to do."""
    reason = error.strerror or str(error)
    repair = _REPAIRS.get(error.errno or 0, "give a place that you may write to")
    folder = next((path for path in (place, *place.absolute().parents) if os.path.isdir(path)), Path("/"))
    free = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        free = f" ({shutil.disk_usage(folder).free / 2**20:.1f} MiB are free in '{folder}')"
    return UserError(f"'{place}' cannot be written: {reason}{free}; {repair}")


@contextmanager
def refusals_told(place: Path) -> Iterator[None]:
    """What is written inside goes to `place`.

    Raises:
        UserError: the disk refused; see `refusal`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := refused(error)) is None:
            raise
        raise refusal(reason, place) from None
