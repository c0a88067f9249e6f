"""Which samples make a batch, and with which random numbers: a pure function of (seed, epoch, index).

So a resumed training gets the same batches as an uninterrupted one, and the number of devices or workers does not
change what a global batch holds.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset, Sampler

from rtseg.checks import check_at_least, check_multiple
from rtseg.data.augment import TrainAugment
from rtseg.data.dataset import Sample, SegmentationDataset
from rtseg.errors import UserError
from rtseg.training.loading import WatchedLoader, reading


class SampleKey(NamedTuple):
    """Which sample of the data set, in which epoch."""

    epoch: int
    sample: int


def sample_seed(seed: int, epoch: int, index: int) -> int:
    """A seed of 64 well-mixed bits; neighbouring epochs or indices have unrelated ones."""
    return int(np.random.SeedSequence((seed, epoch, index)).generate_state(1, np.uint64)[0])


class AugmentedDataset(Dataset[Sample]):
    """A data set and the training augmentation, indexed by `SampleKey`.

    Args:
        reduced: decode JPEGs at a reduced size where the scale allows it.
    """

    def __init__(
        self, dataset: SegmentationDataset, augment: TrainAugment, seed: int, *, reduced: bool = False
    ) -> None:
        self.dataset, self.augment, self.seed, self.reduced = dataset, augment, seed, reduced

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: SampleKey) -> Sample:
        seed = sample_seed(self.seed, key.epoch, key.sample)
        shrink = self.augment.shrink(seed) if self.reduced else 1
        with reading(*self.dataset.pairs[key.sample]):
            sample = self.dataset[key.sample] if shrink == 1 else self.dataset.shrunk(key.sample, shrink)
        return self.augment(sample, seed)


class EpochStart:
    """The place where the next epoch begins: its first batch, or a later one where a checkpoint was resumed.

    Attributes:
        epoch: the next one.
        start: its first batch.
    """

    epoch = 0
    start = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch; the position stays if that is the epoch that was resumed."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0


class GlobalBatchSampler(EpochStart, Sampler[list[SampleKey]]):
    """Shuffled batches of the whole data set, of which this process gets its share.

    The last, incomplete batch of an epoch is left out.

    Args:
        num_samples: number of samples in the data set.
        batch_size: size of a global batch, over all processes.
        rank, world_size: this process, and how many there are.
        pieces: a process gets its share of a batch in so many equal parts, one after the other, for the gradients of
            one optimizer step to be accumulated; `len` and `start` count parts.
        accumulated: so many batches make one optimizer step. Those at the end of an epoch that make none are left out:
            their step would be scaled as if it were whole.

    Raises:
        UserError: the batches of a step are larger than the data set, or do not divide among the processes and parts.
    """

    def __init__(
        self, num_samples: int, batch_size: int, *, seed: int, rank: int = 0, world_size: int = 1, pieces: int = 1,
        accumulated: int = 1,
    ) -> None:  # fmt: skip
        check_at_least("data.batch_size", batch_size, 1, "to train on one device it must be 2")
        times = f" times {pieces} accumulated parts" * (pieces > 1)
        shared = f"it is the batch of all {world_size} devices{times}"
        check_multiple("data.batch_size", batch_size, world_size * pieces, shared)
        if num_samples < batch_size * accumulated:
            times = f" times trainer.accumulate_grad_batches={accumulated}" * (accumulated > 1)
            raise UserError(
                f"data.batch_size={batch_size}{times} is more than the {num_samples} training images; lower it or add "
                "images"
            )
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.rank, self.world_size, self.pieces, self.accumulated = rank, world_size, pieces, accumulated

    def __len__(self) -> int:
        return self.num_samples // (self.batch_size * self.accumulated) * self.accumulated * self.pieces

    @property
    def sampler(self) -> "GlobalBatchSampler":
        """Where Lightning looks for `set_epoch` in a batch sampler."""
        return self

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, start, self.start = self.epoch, self.start, 0
        order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
        part = self.batch_size // self.pieces
        share = part // self.world_size
        for batch in range(start, len(self)):
            first = batch * part + self.rank * share
            yield [SampleKey(epoch, int(index)) for index in order[first : first + share]]


class ResumableLoader(WatchedLoader):
    """A loader over a GlobalBatchSampler that can say, and be told, how far into an epoch it is.

    Lightning saves this in checkpoints.
    """

    def __init__(self, dataset: Dataset[Any], batches: GlobalBatchSampler, **options: Any) -> None:
        super().__init__(dataset, batch_sampler=batches, **options)
        self._batches = batches
        self._epoch = batches.epoch
        self._delivered = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._epoch, self._delivered = self._batches.epoch, self._batches.start
        for batch in super().__iter__():
            self._delivered += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        position = {"epoch": self._epoch, "batches": self._delivered, "pieces": self._batches.pieces}
        return {**position, "accumulated": self._batches.accumulated, **self._order()}

    def _order(self) -> dict[str, int]:
        """What the order of the samples depends on."""
        batches = self._batches
        return {"images": batches.num_samples, "batch_size": batches.batch_size, "seed": batches.seed}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Raises: UserError where the position is one in another order of samples."""
        for key, ours in self._order().items():
            if state[key] != ours:
                raise UserError(
                    f"the checkpoint was trained with {key}={state[key]} in its training data, now it is {ours}: a "
                    "resumed training continues in the middle of its order of images, so give the same, or start a new "
                    "training"
                )
        over = self._batches.num_samples // self._batches.batch_size % self._batches.accumulated
        if over and "accumulated" not in state:
            raise UserError(
                f"the checkpoint is of an older rtseg, whose epochs ended with a step of {over} batches of "
                f"{self._batches.accumulated}; these are left out now, so it cannot be resumed. Start a new training "
                "from its weights with --model.weights"
            )
        # At the end of an epoch another number of parts, and so of devices, is fine: Lightning counts anew.
        pieces = state.get("pieces", 1)
        finished, start = divmod(state["batches"], len(self._batches) // self._batches.pieces * pieces)
        if start and pieces != self._batches.pieces:
            raise UserError(
                f"the checkpoint stands inside epoch {state['epoch']}, with batches accumulated from {pieces} parts; "
                f"now they are {self._batches.pieces}. Give a device the same batch, or resume from the end of an epoch"
            )
        self._batches.epoch, self._batches.start = state["epoch"] + finished, start


class ShardSampler(Sampler[int]):
    """Every world_size-th sample, in order and without padding, so that a metric over all processes counts each
    image once.
    """

    def __init__(self, num_samples: int, *, rank: int, world_size: int) -> None:
        self.indices = range(rank, num_samples, world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)
