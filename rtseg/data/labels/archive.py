"""Zip archives of label tools, unpacked where nothing in them can reach out of a folder or fill the disk."""

import shutil
import zipfile
from pathlib import Path, PurePosixPath

from rtseg.errors import DAMAGED_ZIP, UserError, first_line

_MOST_FILES = 2_000_000
_MOST_TIMES = 200  # as large as the archive, that its content may be; deflate reaches 1,032, masks 20
_FREE = 2**25  # bytes that may be any number of times as large


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks an archive.

    Args:
        folder: new; made.

    Returns:
        The folder with its content: where an archive has one folder alone, that one.

    Raises:
        UserError: it is no zip, is damaged or encrypted; a name in it leads out of the folder; it would become far
            larger than it is, or than the disk has room for.
    """
    folder.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            _check(archive, entries, shutil.disk_usage(folder).free)
            content.extractall(folder)
    except UserError:
        raise
    except DAMAGED_ZIP as error:
        if isinstance(error, OSError) and error.filename is None and error.errno:
            raise  # the disk's
        raise UserError(
            f"'{archive}' cannot be unpacked ({first_line(error)}): export it again, or unpack it and give the folder"
        ) from None
    return inner_folder(folder)


def inner_folder(folder: Path) -> Path:
    """The folder, or the one that is alone in it, and so on."""
    while True:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(entries) != 1 or not entries[0].is_dir():
            return folder
        folder = entries[0]


def _check(archive: Path, entries: list[zipfile.ZipInfo], free: int) -> None:
    """Raises: UserError, see `unpack`."""
    for entry in entries:
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        if name.is_absolute() or ".." in name.parts or (name.parts and name.parts[0].endswith(":")):
            raise UserError(
                f"'{archive}' has a file that leads out of it, '{entry.filename}': nothing was unpacked; such an "
                "archive is made to do harm, or by a broken program: export it again"
            )
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES or size > max(_FREE, _MOST_TIMES * archive.stat().st_size):
        raise UserError(
            f"'{archive}' has {archive.stat().st_size:,} bytes and would become {len(entries):,} files of {size:,} "
            "bytes, which no export of a label tool does: nothing was unpacked; if you trust it, unpack it and give "
            "the folder"
        )
    if size > free:
        raise UserError(
            f"'{archive}' would become {size:,} bytes, and {free:,} are free beside the output: make room there, or "
            "unpack it elsewhere and give the folder"
        )
