"""Decoded images and label files on disk, mapped into memory: each is decoded once, by the process that needs it first.

A folder belongs to one data set. An entry is a file of its own: a header, which names the source as it was when it was
decoded, and the pixels. It is written aside and renamed, so that no reader ever sees half of one, however the writer
ended. What all processes have written is counted in the file `used`, under a lock.
"""

import hashlib
import json
import mmap
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import cv2
import numpy as np
import PIL
from torch.utils.data import get_worker_info

from rtseg.disk import refusal
from rtseg.errors import UserError
from rtseg.output.folders import make_folder, write_whole
from rtseg.paths import cache_folder
from rtseg.terminal import say

try:
    import fcntl
except ImportError:  # Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

SIZES = "a size as 4GB, or a folder"
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)
_MISTYPED = re.compile(r"\d[\d.,]*\s*[a-z]+", re.IGNORECASE)  # such as 4XB
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SPARE = 0.05  # share of a disk that a cache leaves free
_NEARLY = 0.99  # of the limit: full
_CARD, _USED, _LOCK, _ENTRY, _ASIDE = "cache.json", "used", "lock", ".pixels", ".part"
_MAGIC = b"rtsegpx1"
# Magic, decoder, size and time of the source, type, number of axes, axes; padded, so that pixels begin on a page.
_HEADER = struct.Struct("<8s32sQq8sI3I")
_BEGIN = 4096


def cache_bytes(value: str) -> int | None:
    """'4GB' -> 4e9, '4GiB' -> 2**32; None for what is a folder.

    Raises:
        UserError: a number without unit, with an unknown one, or 0.
    """
    if not (match := _SIZE.fullmatch(value.strip())):
        if _MISTYPED.fullmatch(value.strip()):
            raise UserError(f"data.cache={value}: give {SIZES} as ./{value.strip()}")
        return None
    number, unit, binary = match.groups()
    amount = int(float(number) * (1024 if binary else 1000) ** _UNITS[unit.upper()])
    if not unit or not amount:
        raise UserError(f"data.cache={value}: give {SIZES}, or null for none")
    return amount


def open_cache(value: str, dataset: str, root: Path) -> "ImageCache":
    """The cache that `data.cache` names, ready to be used.

    Args:
        value: a size, of a folder of this data set in `rtseg.paths.cache_folder()`; or a folder. Both leave 5 % of
            their disk free.
        dataset, root: whose images it keeps.

    Raises:
        UserError: the folder holds other things, belongs to another data set, or cannot be written to.
    """
    cache, owner = _named(value, dataset, root)
    cache.open(owner)
    return cache


def check_cache(value: str, dataset: str, root: Path) -> None:
    """Says at once what `open_cache` would say of the folder, and changes nothing. Raises: UserError, as there."""
    cache, owner = _named(value, dataset, root)
    if cache.folder.is_dir():
        cache.check(owner)


def _named(value: str, dataset: str, root: Path) -> tuple["ImageCache", dict[str, str]]:
    """The cache that a value stands for, and whose it must be."""
    limit, root = cache_bytes(value), root.expanduser().absolute()
    name = hashlib.sha256(os.fsencode(f"{dataset}\n{root}")).hexdigest()[:8]
    folder = Path(value).expanduser() if limit is None else cache_folder() / "decoded" / f"{dataset}-{name}"
    return ImageCache(folder, limit), {"dataset": dataset, "root": str(root)}


class ImageCache:
    """A folder of decoded files.

    Args:
        limit: bytes that it may hold; None: as many as leave the disk 5 % free.
    """

    def __init__(self, folder: Path, limit: int | None) -> None:
        self.folder, self.limit = folder, limit
        self.full = False  # nothing more is kept by this process
        self._decoder = f"opencv {cv2.__version__} pillow {PIL.__version__}".encode()[:32].ljust(32)

    def open(self, owner: dict[str, str]) -> None:
        """Removes what killed writers left, counts what there is, and says so where it is full.

        Raises:
            UserError: see `open_cache`.
        """
        make_folder(self.folder)
        self._check_others()
        try:
            with self._locked() as used:
                self._check_owner(owner)
                self._write_card(owner)
                total = self._scan()
                used.write_text(str(total))
        except OSError as error:
            raise refusal(error, self.folder) from None
        if not self._has_room(total, 0) or (self.limit is not None and total > _NEARLY * self.limit):
            self._say_full()

    def check(self, owner: dict[str, str]) -> None:
        """Raises: UserError where the folder, which is there, holds other things or belongs to another data set."""
        try:
            self._check_others()
            self._check_owner(owner)
        except OSError as error:
            raise refusal(error, self.folder) from None

    def _check_others(self) -> None:
        own = (_CARD, _USED, _LOCK)
        others = sorted(
            path.name for path in self.folder.iterdir()
            if path.name not in own and path.suffix not in (_ENTRY, _ASIDE) and not path.name.startswith(".")
        )  # fmt: skip
        if others:
            raise UserError(
                f"data.cache={self.folder} holds other files ({', '.join(others[:3])}): give an empty folder, or a size"
            )

    def _write_card(self, owner: dict[str, str]) -> None:
        if not (card := self.folder / _CARD).exists():
            write_whole(card, json.dumps(owner) + "\n")

    def _check_owner(self, owner: dict[str, str]) -> None:
        card = self.folder / _CARD
        if not card.exists():
            return
        try:
            theirs = json.loads(card.read_text())
            name, root = theirs["dataset"], theirs["root"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"'{card}' is damaged: remove its folder, or give another to data.cache") from None
        if {"dataset": name, "root": root} != owner:
            raise UserError(
                f"data.cache={self.folder} belongs to another data set, '{name}' in '{root}': give another folder, or "
                "remove this one"
            )

    def get(self, path: Path, kind: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        """What `read` gives for a file, from the cache where it is there; it may be read-only.

        Args:
            kind: tells ways to read the same file apart.

        Raises:
            UserError: `read`'s.
        """
        try:
            status = path.stat()
        except OSError:
            return read(path)  # which says what is wrong
        name = hashlib.sha256(os.fsencode(f"{kind}\n{path.absolute()}")).hexdigest()[:40]
        source = (self._decoder, status.st_size, status.st_mtime_ns)
        if (kept := _mapped(self.folder / (name + _ENTRY), source)) is not None:
            return kept
        array = np.ascontiguousarray(read(path))
        if not self.full:
            self._keep(name, source, array)
        return array

    def _keep(self, name: str, source: tuple[bytes, int, int], array: np.ndarray) -> None:
        """Writes an entry, if there is room."""
        axes = (*array.shape, 0)[:3]
        header = _HEADER.pack(_MAGIC, *source, array.dtype.str.encode(), array.ndim, *axes).ljust(_BEGIN, b"\0")
        aside, size = self.folder / f"{name}.{os.getpid()}{_ASIDE}", _BEGIN + array.nbytes
        try:
            with self._locked() as used:
                if not self._has_room(self._count(used), size):
                    self._say_full()
                    return
                used.write_text(str(self._count(used) + size))
                file = aside.open("wb", buffering=0)
                _lock(file.fileno())  # who finds it unlocked knows that its writer is no more
                file.truncate(size)  # what `_scan` counts
            with file:
                whole = False
                try:
                    for part in (header, array.reshape(-1).view(np.uint8).data):
                        _write_all(file.fileno(), part)
                    os.fsync(file.fileno())  # else a loss of power could leave a name without its pixels
                    whole = True
                finally:
                    self._settle(aside, self.folder / (name + _ENTRY), size, whole=whole)
        except (OSError, ValueError):
            self._say_full() if self.folder.is_dir() else self._say_gone()

    def _settle(self, aside: Path, entry: Path, size: int, *, whole: bool) -> None:
        """Renames a whole file, removes another, and corrects the count."""
        with self._locked() as used:
            freed = size
            if whole:
                freed = entry.stat().st_size if entry.exists() else 0
                os.replace(aside, entry)
            else:
                aside.unlink()
            used.write_text(str(self._count(used) - freed))

    def _has_room(self, used: int, size: int) -> bool:
        disk = shutil.disk_usage(self.folder)
        return (self.limit is None or used + size <= self.limit) and disk.free - size > _SPARE * disk.total

    def _say_full(self) -> None:
        held, repair = "less than 5 % of its disk are free", "Make room there"
        if self.limit is not None:
            held, repair = f"{self.limit / 1e9:.3g} GB", "Give a larger --data.cache"
        self._stop(f"is full ({held}): what it does not hold is decoded each time. {repair}, or go on without.")

    def _say_gone(self) -> None:
        self._stop("was removed: from now on each image is decoded each time.")

    def _stop(self, why: str) -> None:
        """Keeps nothing more, which one of the loader processes says."""
        self.full = True
        worker = get_worker_info()
        if worker is None or worker.id == 0:
            say(f"The cache of decoded images '{self.folder}' {why}", stderr=True)

    def _count(self, used: Path) -> int:
        try:
            return int(used.read_text())
        except (OSError, ValueError):  # its writer was killed
            return self._scan()

    def _scan(self) -> int:
        """Bytes of all entries and of those being written; what killed writers left is removed."""
        total = 0
        for item in os.scandir(self.folder):
            with suppress(FileNotFoundError):
                if item.name.endswith(_ASIDE) and _is_abandoned(Path(item.path)):
                    os.unlink(item.path)
                elif item.name.endswith((_ENTRY, _ASIDE)):
                    total += item.stat().st_size
        return total

    @contextmanager
    def _locked(self) -> Iterator[Path]:
        """The file that counts what is used, which no other process changes meanwhile."""
        with (self.folder / _LOCK).open("ab") as lock:
            _lock(lock.fileno())
            yield self.folder / _USED


def _lock(descriptor: int, *, wait: bool = True) -> bool:
    """Whether it could be had, until the descriptor is closed; always where the file system has no locks."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_abandoned(aside: Path) -> bool:
    with aside.open("rb") as file:
        return fcntl is not None and _lock(file.fileno(), wait=False)


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _mapped(entry: Path, source: tuple[bytes, int, int]) -> np.ndarray | None:
    """The pixels of an entry, read-only; None where there is none of this source."""
    try:
        with entry.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        magic, *theirs, kind, number, height, width, channels = _HEADER.unpack_from(content)
        if (magic, *theirs) != (_MAGIC, *source):
            return None
        return np.frombuffer(content, kind.rstrip(b"\0").decode(), offset=_BEGIN).reshape(
            (height, width, channels)[:number]
        )
    except (OSError, ValueError, TypeError, struct.error):  # absent, or no entry
        return None
