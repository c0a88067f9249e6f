"""What the images and masks of a training are like: how many, how large, and which classes occur in them.

Reading every mask of a large data set takes minutes. A fixed number is read, spread evenly over the set, so that the
answer is the same each time and in each process.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from rtseg.data.dataset import IGNORE, MOST_CLASSES, LabelSpace, SegmentationDataset, UnknownLabelError
from rtseg.data.header import upright_size
from rtseg.errors import UserError

MOST_MASKS = 500
LEAST_MASKS = 50
MOST_PIXELS = 400_000_000  # of all masks that are read: about ten seconds on two cores
_THREADS = 16
_NAMED = 5  # files in a message
Result = TypeVar("Result")


@dataclass(frozen=True)
class Survey:
    """The answer of `survey`.

    Attributes:
        dataset: the training images and masks.
        read: how many masks were read.
        pixels: how many pixels each class has in these masks, K numbers.
        ignored: how many pixels are ignored in them.
        size: (height, width) of the median image, each side on its own.
    """

    dataset: SegmentationDataset
    read: int
    pixels: tuple[int, ...]
    ignored: int
    size: tuple[int, int]

    @cached_property
    def shares(self) -> tuple[float, ...]:
        """The part of the labelled pixels that each class has; the sum is 1, or 0 where all pixels are ignored."""
        labelled = max(1, sum(self.pixels))
        return tuple(number / labelled for number in self.pixels)

    @property
    def ignored_share(self) -> float:
        """The part of all pixels that is ignored."""
        return self.ignored / max(1, self.ignored + sum(self.pixels))

    @property
    def absent(self) -> list[str]:
        """The classes that no mask has."""
        return [name for name, number in zip(self.dataset.labels.names, self.pixels, strict=True) if not number]

    @property
    def all_read(self) -> bool:
        """Whether every mask was read."""
        return self.read == len(self.dataset)

    @property
    def masks(self) -> str:
        """'80 masks', or '500 of 10,000 masks'."""
        total = len(self.dataset)
        return f"{total:,} mask{'s' * (total != 1)}" if self.all_read else f"{self.read:,} of {total:,} masks"


def survey(dataset: SegmentationDataset) -> Survey:
    """Reads the headers of at most 500 images, and at most 500 masks whole (50 where they are very large).

    Raises:
        UserError: a mask cannot be read, or holds a label outside the classes.
    """
    some = _spread(len(dataset), MOST_MASKS)
    size = _median_size(dataset, some)
    masks = _spread(len(dataset), max(LEAST_MASKS, min(MOST_MASKS, MOST_PIXELS // (size[0] * size[1]))))
    counts = _sum(_parallel(lambda index: _count_or_fault(dataset, index), masks), dataset.labels)
    number = len(dataset.labels.names)
    return Survey(dataset, len(masks), tuple(map(int, counts[:number])), int(counts[IGNORE]), size)


def shared_images(one: SegmentationDataset, other: SegmentationDataset) -> int:
    """How many images of `other` are also in `one`, by the file that a path leads to, or byte for byte.

    Of many files with equal sizes some are compared.
    """
    first, second = _files(one), _files(other)
    sizes = _by_size(first)
    alike = [(file, same) for file, size in _sizes(second - first) if (same := sizes.get(size))][:MOST_MASKS]
    copies = _parallel(lambda k: _are_copies(alike[k][0], alike[k][1]), range(len(alike)))
    return len(first & second) + sum(copies)


def _files(dataset: SegmentationDataset) -> set[str]:
    return {os.path.realpath(image) for image, _ in dataset.pairs}


def _sizes(files: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Each file with its number of bytes, those that are there."""
    for file in sorted(files):
        with suppress(OSError):
            yield file, os.path.getsize(file)


def _by_size(files: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for file, size in _sizes(files):
        found.setdefault(size, []).append(file)
    return found


def _are_copies(file: str, others: Sequence[str]) -> bool:
    """Whether one of some files of equal size is a copy."""
    try:
        content = Path(file).read_bytes()
        return any(Path(other).read_bytes() == content for other in others)
    except OSError:
        return False


def _spread(number: int, most: int) -> list[int]:
    """At most `most` of the indices below `number`, evenly spaced."""
    return [int(index) for index in np.linspace(0, number - 1, min(number, most))]


def _parallel(work: Callable[[int], Result], indices: Sequence[int]) -> list[Result]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(work, indices))


def _sum(results: Sequence[np.ndarray | UserError], labels: LabelSpace) -> np.ndarray:
    """Raises: UserError where some masks have a fault."""
    faults = [fault for fault in results if isinstance(fault, UserError)]
    if faults:
        _check_enough_classes(faults, labels)
        more = f"\n  and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise UserError(
            f"{len(faults)} of {len(results)} masks cannot be used:"
            + "".join(f"\n  {fault}" for fault in faults[:_NAMED])
            + more
        )
    return np.sum([count for count in results if not isinstance(count, UserError)], axis=0)


def _check_enough_classes(faults: Sequence[UserError], labels: LabelSpace) -> None:
    """Raises: UserError where each of several faults is a number above those of the classes, which are 0 to K-1."""
    number = len(labels.names)
    unknown = [fault for fault in faults if isinstance(fault, UnknownLabelError)]
    highest = max((fault.highest for fault in unknown), default=0)
    if len(unknown) > 1 and unknown == faults and labels.ids == tuple(range(number)) and highest < MOST_CLASSES:
        raise UserError(
            f"the data set has {number} class{'es' * (number != 1)}, from 0 to {number - 1}, but masks reach {highest} "
            f"({len(unknown)} masks, the first is {unknown[0].path}). Data set 'folder': add the missing names to "
            "`classes`, or say with `label_map` what the other numbers mean"
        )


def _count_or_fault(dataset: SegmentationDataset, index: int) -> np.ndarray | UserError:
    try:
        return _count(dataset, index)
    except UserError as error:
        return error


def _count(dataset: SegmentationDataset, index: int) -> np.ndarray:
    """Pixels of each label 0..255."""
    histogram = cv2.calcHist([dataset.mask(index)], [0], None, [256], [0, 256])  # np.bincount takes 30 times as long
    return histogram.ravel().astype(np.int64)


def _median_size(dataset: SegmentationDataset, indices: Sequence[int]) -> tuple[int, int]:
    if dataset.reads_files:
        found = [size for size in _parallel(lambda index: upright_size(dataset.pairs[index][0]), indices) if size]
    else:
        found = [dataset[index].size for index in indices[:1]]
    if not found:
        raise UserError(f"{dataset.pairs[0][0]}: not a readable image; replace or remove it")
    height, width = np.median(np.array(found), axis=0)
    return int(height), int(width)
