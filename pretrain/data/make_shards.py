"""Writes shards out of class folders, and the index of shards that others wrote; `pretrain.data.shards` reads both."""

import glob
import json
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import fsspec
import numpy as np
from rich.progress import track

from pretrain.data.class_folders import SPLITS, class_folders
from pretrain.data.imagenet import ImageFolder
from pretrain.data.shard_index import INDEX, VERSION, ShardIndex
from pretrain.data.shard_tar import tar_labels
from pretrain.data.store import CutShard, join, store_errors, unreachable
from rtseg.checks import check_at_least
from rtseg.errors import UserError
from rtseg.output.folders import check_empty, write_whole, written_whole
from rtseg.output.lock import locked_folder, locked_target
from rtseg.terminal import Console

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def write_shards(root: Path, output: Path, *, per_shard: int = 1000, workers: int | None = None) -> ShardIndex:
    """Packs the image files of class folders, byte for byte, in an order that mixes the classes and is always the same.

    Args:
        root: folder of train/ and val/.
        output: folder for <split>-000000.tar and index.json, which is written last.
        per_shard: images in a shard; of ImageNet's, 1000 are 110 MB.
        workers: shards written at a time; by default as many as there are cores.

    Raises:
        UserError: see `ImageFolder`; `output` holds something; a bad number.
    """
    _check_workers(workers)
    check_at_least("--per-shard", per_shard, 1, "1000 is usual")
    with locked_folder(output):
        check_empty(output, "nothing is overwritten: give a new folder, or remove this one")
        return _write_shards(root, output, per_shard, workers)


def _write_shards(root: Path, output: Path, per_shard: int, workers: int | None) -> ShardIndex:
    sets = {split: ImageFolder(root, split) for split in SPLITS if split in class_folders(root)}
    jobs = []
    for split, images in sets.items():
        order = np.random.default_rng(0).permutation(len(images))
        for number, first in enumerate(range(0, len(images), per_shard)):
            jobs.append((output / f"{split}-{number:06d}.tar", images, order[first : first + per_shard]))

    _in_parallel(lambda job: _write(*job), jobs, workers, "writing shards")
    splits: dict[str, dict[str, int]] = {split: {} for split in sets}
    for file, images, numbers in jobs:
        splits[images.split][file.name] = len(numbers)
    index = ShardIndex(str(output), next(iter(sets.values())).classes, splits)
    write_index(index)
    return index


def _write(file: Path, images: ImageFolder, numbers: np.ndarray) -> None:
    with written_whole(file) as aside, tarfile.open(aside, "w") as tar:
        for number in numbers:
            path = images.path(int(number))
            try:
                data = path.read_bytes()
            except OSError as error:
                raise UserError(
                    f"{path}: cannot be read ({error.strerror}); repair or remove it, and run the command again"
                ) from None
            # A key ends at its first dot; the number makes it unique.
            key = f"{number:07d}_{path.parent.name}_{path.stem}".replace(".", "_")
            _add(tar, f"{key}{path.suffix.lower()}", data)
            _add(tar, f"{key}.cls", str(images.labels[number]).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # of no date and owner: the same images make the same file
    member.size = len(data)
    tar.addfile(member, BytesIO(data))


def index_shards(
    root: str, patterns: Mapping[str, str], *, classes: Sequence[str] = (), workers: int | None = None
) -> ShardIndex:
    """Counts the images of shards that are there, and their classes. `write_index` writes what it finds.

    Args:
        root: folder or URL.
        patterns: split -> files below `root`, as in {"train": "train-*.tar"}.
        classes: names in the order of their numbers; by default the numbers are the names.
        workers: shards read at a time.

    Raises:
        UserError: no shards, a broken one, or one of a class without a name; a bad number of workers.
    """
    _check_workers(workers)
    splits, most = {}, -1
    for split, pattern in patterns.items():
        names = _matching(root, pattern)
        if not names:
            raise UserError(f"no '{split}' shards: nothing in {root} matches {pattern}")
        found = _in_parallel(lambda name: _count(join(root, name)), names, workers, f"counting {split}")
        splits[split] = {name: count for name, (count, _) in zip(names, found, strict=True)}
        most = max(most, *(largest for _, largest in found))
    if classes and most >= len(classes):
        raise UserError(f"there is a class {most} in {root}, but names for {len(classes)} (0..{len(classes) - 1})")
    return ShardIndex(root, tuple(classes) or tuple(str(number) for number in range(most + 1)), splits)


def _matching(root: str, pattern: str) -> list[str]:
    try:
        with store_errors(root):
            files, folder = fsspec.core.url_to_fs(root)
            prefix = f"{folder.rstrip('/')}/"
            found = [str(path) for path in files.glob(glob.escape(prefix) + pattern)]
    except FileNotFoundError:  # the folder itself
        return []
    return sorted(path[path.index(prefix) + len(prefix) :] for path in found)


def _count(url: str) -> tuple[int, int]:
    """Images, and the largest class."""
    try:
        labels = list(tar_labels(url))
    except CutShard as error:
        raise UserError(f"{url} is cut off or damaged ({error}); copy it again") from None
    except FileNotFoundError as error:  # a listing may name what is not there
        raise unreachable(url, error) from None
    return len(labels), max(labels, default=-1)


def write_index(index: ShardIndex) -> None:
    """Into the shards' folder or below their URL. UserError where there is one, whose class names would be lost."""
    if _matching(index.root, INDEX):
        raise UserError(f"{index.root} has its {INDEX}: to count anew move that away, and give its class names again")
    content = {"version": VERSION, "classes": list(index.classes), "splits": index.splits}
    text = json.dumps(content, indent=1) + "\n"
    if "://" in index.root:
        url = join(index.root, INDEX)
        try:
            with store_errors(url, "written"), fsspec.open(url, "w") as file:
                file.write(text)
        except FileNotFoundError as error:  # no such bucket
            raise unreachable(url, error, "written") from None
    else:
        file = Path(index.root) / INDEX
        with locked_target(file):
            write_whole(file, text)


def _check_workers(workers: int | None) -> None:
    if workers is not None:
        check_at_least("workers", workers, 1, "leave it out for as many as there are cores")


def _in_parallel(
    work: Callable[[_Item], _Result], items: Sequence[_Item], workers: int | None, name: str
) -> list[_Result]:
    """In threads, since disks and networks are waited for; with a progress bar."""
    pool = ThreadPoolExecutor(workers or os.cpu_count())
    try:
        return list(track(pool.map(work, items), name, len(items), console=Console(stderr=True)))
    finally:
        pool.shutdown(cancel_futures=True)
