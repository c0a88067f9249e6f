"""Whether the files of a data set can be read, found out in seconds before hours are spent on them."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from rtseg.data.files import read_image, read_mask
from rtseg.data.header import upright_size
from rtseg.errors import UserError

_TAIL = 4096  # bytes in which a file's end mark is looked for; cameras and editors write behind it
_NAMED = 5  # files in a message
_Look = tuple[Path, Callable[[Path], str | None]]  # a file, and what finds its fault
_THREADS = 16  # most wait for the disk


def check_readable(
    pairs: Sequence[tuple[Path, Path]], seconds: float = 5.0, read: Callable[[Path], Any] = read_image
) -> int:
    """Looks at the header and the end of each image and label file; a file that seems odd is read whole.

    Damage in the middle of a file is not seen.

    Args:
        pairs: (image, label file).
        seconds: after so many it stops, for very large sets and slow disks.
        read: how images are read; it raises UserError.

    Returns:
        How many pairs it has looked at.

    Raises:
        UserError: some cannot be read; the message names the first of them and says how many there are.
    """
    image_fault = partial(_fault, read=read)
    return _look([((image, image_fault), (mask, _mask_fault)) for image, mask in pairs], seconds, "image and label")


def check_images_usable(images: Mapping[Path, tuple[int, int]], seconds: float = 5.0) -> int:
    """The same for images whose labels are elsewhere; returns how many images it has looked at.

    Args:
        images: file -> (height, width) that it must have.
    """
    looks = [((image, partial(_sized_image_fault, size)),) for image, size in images.items()]
    return _look(looks, seconds, "image")


def unusable_images(images: Mapping[Path, tuple[int, int]]) -> set[Path]:
    """Those that `check_images_usable` would name, without a limit of time: what a training leaves out must not depend
    on how fast the disk is.
    """
    with ThreadPoolExecutor(_THREADS) as pool:
        faults = pool.map(lambda image: _sized_image_fault(images[image], image), images)
        return {image for image, fault in zip(images, faults, strict=True) if fault}


def check_files(files: Sequence[Path], what: str, read: Callable[[Path], Any], seconds: float = 5.0) -> int:
    """The same for files of another kind, each of which is read; returns how many.

    Args:
        what: they are, such as "disparity".
        read: raises UserError where a file cannot be used.
    """
    return _look([((file, partial(_read_fault, read)),) for file in files], seconds, what)


def _look(groups: Sequence[Sequence[_Look]], seconds: float, what: str) -> int:
    """Looks at groups of files, and returns at how many groups. Raises: UserError, see `check_readable`."""
    until, looked, files, bad = time.monotonic() + seconds, 0, 0, list[str]()
    with ThreadPoolExecutor(_THREADS) as pool:
        while looked < len(groups) and time.monotonic() < until:
            some = groups[looked : looked + 8 * _THREADS]
            jobs = [one for group in some for one in group]
            bad += filter(None, pool.map(lambda job: job[1](job[0]), jobs))
            looked, files = looked + len(some), files + len(jobs)
    if bad:
        more = f"\n  and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise UserError(
            f"{len(bad)} of {files} {what} files cannot be used, and a training would end at the first:"
            + "".join(f"\n  {fault}" for fault in bad[:_NAMED])
            + more
        )
    return looked


def seems_whole(path: Path) -> bool:
    """A PNG, JPEG, BMP or WebP whose beginning and end, or whose length, are right. Of others nothing cheap says so."""
    with path.open("rb") as file:
        head = file.read(32)
        size = file.seek(0, 2)
        file.seek(max(0, size - _TAIL))
        tail = file.read()
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return b"IEND" in tail
    if head.startswith(b"\xff\xd8"):
        return tail.rfind(b"\xff\xd9") > tail.rfind(b"\xff\xda")
    if head.startswith(b"BM"):
        return 54 < int.from_bytes(head[2:6], "little") <= size
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= size
    return False


def _image_fault(path: Path) -> str | None:
    return _fault(path, read_image)


def _sized_image_fault(size: tuple[int, int], path: Path) -> str | None:
    fault, found = _image_fault(path), upright_size(path)
    if fault or found in (None, size):
        return fault
    return f"{path} is {found[0]}x{found[1]} (height x width), its annotations are for {size[0]}x{size[1]}"


def _mask_fault(path: Path) -> str | None:
    return _fault(path, read_mask)


def _fault(path: Path, read: Callable[[Path], Any]) -> str | None:
    """What is wrong with a file; None: nothing that shows."""
    try:
        whole = seems_whole(path)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    return None if whole else _read_fault(read, path)


def _read_fault(read: Callable[[Path], Any], path: Path) -> str | None:
    """What is wrong with a file that is read whole."""
    try:
        read(path)
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    return None
