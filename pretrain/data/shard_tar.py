"""One shard: a tar file as WebDataset lays them out, <key>.jpg and <key>.cls, the class number as text."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from pretrain.data.class_folders import SUFFIXES
from pretrain.data.store import CutShard, open_file, store_errors, unreachable
from rtseg.errors import UserError


class Raw(NamedTuple):
    """An image as it is stored; its place for error messages."""

    name: str
    data: bytes
    label: int


def tar_images(url: str, wanted: np.ndarray | None = None) -> Iterator[Raw | None]:
    """The images of a shard in order, up to the last wanted one; None for the others, whose bytes are not read.

    Args:
        wanted: (N,) bool, one entry for each image of the shard; None: all.

    Raises:
        FileNotFoundError: the shard is missing.
        CutShard: the shard cannot be read to its end.
        UserError: see `open_file`; a class that is not a number.
    """
    last = None if wanted is None else int(np.flatnonzero(wanted)[-1])
    with _open_tar(url) as tar:
        for number, (image, label) in enumerate(_pairs(tar)):
            if last is not None and number > last:
                return
            if wanted is not None and not wanted[number]:
                yield None
            else:
                yield Raw(f"{url} ({image.name})", _bytes(tar, image), _label(url, tar, label))


def tar_labels(url: str) -> Iterator[int]:
    """The classes of a shard's images in order; the images are not read. Raises: as `tar_images`."""
    with _open_tar(url) as tar:
        for _, label in _pairs(tar):
            yield _label(url, tar, label)


@contextmanager
def _open_tar(url: str) -> Iterator[tarfile.TarFile]:
    with store_errors(url), open_file(url) as file:
        try:
            file.seek(1)  # what fsspec reads as a stream says that it can seek and gives less than it is asked for
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar
        except (tarfile.TarError, EOFError) as error:
            raise CutShard(str(error)) from None
        except FileNotFoundError as error:  # it was there before
            raise unreachable(url, error) from None
        except ValueError as error:
            if isinstance(error, UserError) or not url.startswith("http"):
                raise
            raise UserError(
                f"{url}: {error}. Shards are read from servers that give parts of files (HTTP range requests): take "
                "another server, or copy the shards to a local folder"
            ) from None


def _pairs(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarInfo]]:
    """Image and class of each key that has both; they stand side by side, as WebDataset has it."""
    current, image, label = "", None, None
    for member in tar:
        if not member.isfile():
            continue
        folder, _, name = member.name.rpartition("/")
        stem, _, suffix = name.partition(".")
        if f"{folder}/{stem}" != current:
            current, image, label = f"{folder}/{stem}", None, None
        if f".{suffix.lower()}" in SUFFIXES:
            image = member
        elif suffix.lower() == "cls":
            label = member
        if image is not None and label is not None:
            yield image, label
            image = label = None


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # a regular file
    data = file.read()
    if len(data) < member.size:
        raise CutShard("unexpected end of data")
    return data


def _label(url: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> int:
    text = _bytes(tar, member)
    try:
        return int(text)
    except ValueError:
        raise UserError(
            f"{url}: {member.name} holds {text[:20]!r}, not a class number; make that shard again"
        ) from None
