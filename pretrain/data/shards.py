"""Data sets out of shards, for training and for evaluation: each worker reads its part of an epoch.

`shard_index.py` knows how many images are in which shard, `shard_order.py` the order, `shard_reader.py` reads them.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pretrain.data.augment import Transform, seeded
from pretrain.data.image_files import LEFT_OUT, Broken
from pretrain.data.samples import Sample, ignored
from pretrain.data.shard_index import ShardIndex
from pretrain.data.shard_order import Part, eval_part, shuffled, train_part
from pretrain.data.shard_reader import ShardReader, decoded, replaced
from rtseg.errors import UserError
from rtseg.training.sampling import sample_seed

BUFFER = 1000  # images that a worker holds to shuffle, as bytes: 110 MB of ImageNet's


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
        buffer: number of images in the shuffle buffer.
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
            found = decoded(raw, self.broken, LEFT_OUT)
            yield ignored(self.transform) if found is None else Sample(self.transform(found[0]), found[1])
