"""Images in tar files ("shards", as WebDataset lays them out) read in the order of an epoch.

In each tar: <key>.jpg and <key>.cls, the class number as text. `shard_index.py` knows how many are in which,
`shard_order.py` the order.
"""

import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pretrain.data.augment import Transform, seeded
from pretrain.data.imagenet import (
    LEFT_OUT,
    REPLACED,
    SUFFIXES,
    Batch,
    Broken,
    BrokenImage,
    Sample,
    collate,
    decode,
    ignored,
    name_skipped,
    repair,
)
from pretrain.data.shard_index import CutShard, ShardIndex, join, open_file, store_errors, unreachable
from pretrain.data.shard_order import Part, eval_part, shuffled, train_part
from rtseg.errors import UserError
from rtseg.training.sampling import EpochStart, sample_seed

BUFFER = 1000  # images that a worker holds to shuffle, as bytes: 110 MB of ImageNet's


class Raw(NamedTuple):
    """An image as it is stored; its place for error messages."""

    name: str
    data: bytes
    label: int


def tar_images(url: str, wanted: np.ndarray | None = None) -> Iterator[Raw | None]:
    """The images of a shard in order; None for those that are not `wanted`, whose bytes are left alone. Ends after the
    last that is.

    Args:
        wanted: for each image of the shard whether it is; by default all.

    Raises:
        FileNotFoundError
        CutShard: it cannot be read to its end.
        UserError: see `open_file`; a class that is no number.
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
    """The classes of a shard's images in order, whose bytes are left alone. Raises: as `tar_images`."""
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
        raise UserError(f"{url}: {member.name} holds {text[:20]!r}, no class number; make that shard again") from None


class ShardReader:
    """Images of a split's shards in a given order of shards.

    Args:
        index: of the shards.
        split: "train" or "val".
        broken: "refuse" ends at a shard or image that is broken and names it; "skip" gives None in their place.
    """

    def __init__(self, index: ShardIndex, split: str, broken: Broken) -> None:
        self.index, self.broken = index, broken
        self.instead = REPLACED if split == "train" else LEFT_OUT
        self.names = list(index.shards(split))
        self.counts = np.array(list(index.shards(split).values()))
        self.firsts = np.cumsum(self.counts) - self.counts  # the number of each shard's first image

    def read(self, shards: np.ndarray, first: int, order: np.ndarray) -> Iterator[tuple[int, Raw | None]]:
        """Number of an image in the split, and the image.

        Args:
            shards: numbers of the shards in the order of the epoch; their images, one after the other, are a sequence.
            first: of the images in that sequence.
            order: places behind `first`, in the order in which their images are to come. Shards that have none of them
                are not opened.
        """
        held: dict[int, tuple[int, Raw | None]] = {}
        images = self._in_sequence(shards, first + np.sort(order))
        for place in order:
            while first + place not in held:
                at, number, raw = next(images)
                held[at] = number, raw
            yield held.pop(first + place)

    def _in_sequence(self, shards: np.ndarray, places: np.ndarray) -> Iterator[tuple[int, int, Raw | None]]:
        """Place in the sequence, number in the split and image, for increasing places."""
        ends = np.cumsum(self.counts[shards])
        for shard, end in zip(shards, ends, strict=True):
            begin = end - self.counts[shard]
            wanted = places[np.searchsorted(places, begin) : np.searchsorted(places, end)] - begin
            if len(wanted):
                for within, raw in self._shard(int(shard), wanted):
                    yield int(begin) + within, int(self.firsts[shard]) + within, raw

    def _shard(self, shard: int, wanted: np.ndarray) -> Iterator[tuple[int, Raw | None]]:
        url, count = join(self.index.root, self.names[shard]), self.counts[shard]
        mask = np.zeros(count, bool)
        mask[wanted] = True
        found = 0
        problem = "it is shorter"
        try:
            for within, raw in enumerate(tar_images(url, mask)):
                found = within + 1
                if raw is not None:
                    yield within, self._checked(raw)
        except FileNotFoundError:
            problem = "there is no such file"
        except CutShard as error:
            problem = f"it is cut off or damaged ({error})"
        if found <= wanted[-1]:
            if self.broken == "refuse":
                raise UserError(
                    f"{url}: {found} images where the index counts {count}: {problem}. Copy or make that shard again, "
                    "make the index anew, or train on with --data.broken=skip"
                )
            name_skipped(url, f"{found} images where the index counts {count}: {problem}", self.instead)
            yield from ((int(within), None) for within in wanted[wanted >= found])

    def _checked(self, raw: Raw) -> Raw:
        if not 0 <= raw.label < len(self.index.classes):
            raise UserError(
                f"{raw.name} is of class {raw.label}, but the index names {len(self.index.classes)} classes, "
                f"0..{len(self.index.classes) - 1}; make the index again"
            )
        return raw


def replaced(images: Iterable[tuple[int, Raw | None]], broken: Broken) -> Iterator[tuple[int, Image.Image, int, int]]:
    """Numbers and images in bytes -> number, RGB image, class, and 1 where it is another's, since its own is broken.

    That is the next good one's: what came before is not known where a training was resumed.

    Raises:
        UserError: a broken image is refused, or there is no good one.
    """
    waiting: list[int] = []
    good: tuple[Image.Image, int] | None = None
    for number, raw in images:
        found = _decoded(raw, broken, REPLACED)
        if found is None:
            waiting.append(number)
            continue
        good = found
        yield from ((earlier, *good, 1) for earlier in waiting)
        waiting.clear()
        yield number, *good, 0
    if waiting:
        if good is None:
            raise UserError(f"not one of {len(waiting)} images in a row can be read; check-data says why")
        yield from ((earlier, *good, 1) for earlier in waiting)


def _decoded(raw: Raw | None, broken: Broken, instead: str) -> tuple[Image.Image, int] | None:
    """RGB image and class; None where it is broken and skipped."""
    if raw is None:
        return None
    try:
        return decode(raw.data), raw.label
    except BrokenImage as error:
        if broken == "refuse":
            raise repair(raw.name, error) from None
        name_skipped(raw.name, str(error), instead)
        return None


class TrainShards(IterableDataset[Sample]):
    """Augmented images of an epoch in its order, for one process's workers.

    Ranks and workers read ranges of the epoch's shuffled sequence of shards, each through a shuffle buffer. An epoch is
    the whole global batches of the split: every rank gets as many, and no image twice.

    Args:
        index, broken: see `ShardReader`.
        transform: from RGB image to tensor.
        batch_size: global, over all processes.
        seed: of order and augmentation.
        rank, world_size: this process, and how many there are.
        pieces: see `rtseg.training.sampling.GlobalBatchSampler`.
        buffer: images that are held to be shuffled.
    """

    def __init__(
        self,
        index: ShardIndex,
        transform: Transform,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        pieces: int = 1,
        buffer: int = BUFFER,
        broken: Broken = "refuse",
    ) -> None:
        self.reader = ShardReader(index, "train", broken)
        self.transform, self.broken, self.buffer, self.seed = transform, broken, buffer, seed
        self.batch_size, self.rank, self.world_size, self.pieces = batch_size, rank, world_size, pieces
        self.images = index.size("train")
        if self.images < batch_size:
            raise UserError(
                f"data.batch_size={batch_size} is more than the {self.images} training images; lower it or add images"
            )
        self.batches = self.images // batch_size * pieces
        self.share = batch_size // (world_size * pieces)
        # Epoch and first batch. Shared memory: workers live longer than an epoch and must see it change.
        self._position = torch.zeros(2, dtype=torch.int64).share_memory_()

    def go_to(self, epoch: int, start: int) -> None:
        """Where the next iteration begins, in all workers."""
        self._position.copy_(torch.tensor([epoch, start]))

    def __iter__(self) -> Iterator[Sample]:
        epoch, start = self._position.tolist()
        return self._samples(epoch, start, **_worker())

    def _samples(self, epoch: int, start: int, worker: int, num_workers: int) -> Iterator[Sample]:
        part = train_part(
            self.batches, self.share, rank=self.rank, world_size=self.world_size, worker=worker,
            num_workers=num_workers, start=start,
        )  # fmt: skip
        shards = np.random.default_rng((self.seed, epoch)).permutation(len(self.reader.names))
        # The place in the sequence tells workers apart, whoever reads it.
        order = shuffled(part.samples, self.buffer, np.random.default_rng((self.seed, epoch, part.first)))
        images = self.reader.read(shards, part.first, order[part.delivered :])
        for number, image, label, skipped in replaced(images, self.broken):
            with seeded(sample_seed(self.seed, epoch, number)):
                tensor = self.transform(image)
            yield Sample(tensor, label, skipped)


def _worker() -> dict[str, int]:
    info = get_worker_info()
    return {"worker": info.id, "num_workers": info.num_workers} if info else {"worker": 0, "num_workers": 1}


class EvalShards(IterableDataset[Sample]):
    """Every image of the validation split once, over all ranks and workers; see `ignored` for the broken ones."""

    def __init__(
        self,
        index: ShardIndex,
        transform: Transform,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
        broken: Broken = "refuse",
    ) -> None:
        self.reader = ShardReader(index, "val", broken)
        self.transform, self.share, self.broken = transform, batch_size, broken
        self.rank, self.world_size = rank, world_size
        self.batches = -(-self._part(worker=0, num_workers=1).samples // batch_size)

    def _part(self, *, worker: int, num_workers: int) -> Part:
        total = int(self.reader.counts.sum())
        return eval_part(
            total, self.share, rank=self.rank, world_size=self.world_size, worker=worker, num_workers=num_workers
        )

    def __iter__(self) -> Iterator[Sample]:
        part = self._part(**_worker())
        images = self.reader.read(np.arange(len(self.reader.names)), part.first, np.arange(part.samples))
        for _, raw in images:
            found = _decoded(raw, self.broken, LEFT_OUT)
            yield ignored(self.transform) if found is None else Sample(self.transform(found[0]), found[1])


class ShardBatches:
    """Batches of shards. It has a DataLoader and is none, since Lightning counts batches and sets epochs of one over an
    iterable in its own way.
    """

    def __init__(self, data: TrainShards | EvalShards, **options: Any) -> None:
        self._length = data.batches
        self._loader = DataLoader(data, batch_size=data.share, collate_fn=collate, **options)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._loader)

    @property
    def _iterator(self) -> Any:
        """Where Lightning looks for workers to end after a training."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: None) -> None:
        self._loader._iterator = iterator


class ShardLoader(EpochStart, ShardBatches):
    """Batches of `TrainShards` that can say, and be told, how far into an epoch they are; Lightning saves this."""

    def __init__(self, data: TrainShards, **options: Any) -> None:
        super().__init__(data, **options)
        self._data, self._workers = data, max(1, options["num_workers"])
        self._epoch, self._delivered = 0, 0

    @property
    def sampler(self) -> "ShardLoader":
        """Where Lightning looks for `set_epoch`."""
        return self

    def __iter__(self) -> Iterator[Batch]:
        self._epoch, self._delivered, self.start = self.epoch, self.start, 0
        self._data.go_to(self._epoch, self._delivered)
        for batch in self._loader:
            self._delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "batches": self._delivered, "batches of an epoch": len(self), **self._order()}

    def _order(self) -> dict[str, int]:
        """What the order inside an epoch depends on."""
        data = self._data
        return {
            "images": data.images, "batch_size": data.batch_size, "seed": data.seed, "accumulated parts": data.pieces,
            "devices": data.world_size, "num_workers": self._workers, "shuffle buffer": data.buffer,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises: UserError where the position is inside an epoch of another order."""
        finished, start = divmod(state["batches"], state["batches of an epoch"])
        for key, ours in self._order().items():
            if start and state[key] != ours:
                raise UserError(
                    f"the checkpoint stands inside epoch {state['epoch']} with {key}={state[key]} in its training "
                    f"data, now it is {ours}: shards are read in another order then. Give the same, go on from a "
                    "checkpoint at the end of an epoch, or start a new training"
                )
        self.epoch, self.start = state["epoch"] + finished, start
        self._epoch, self._delivered = self.epoch, self.start
