"""Batches out of shards, whose position in an epoch is a number."""

from collections.abc import Iterator
from typing import Any

from pretrain.data.samples import Batch, collate
from pretrain.data.shards import EvalShards, TrainShards
from rtseg.errors import UserError
from rtseg.training.loading import WatchedLoader
from rtseg.training.sampling import EpochStart


class ShardBatches:
    """Batches of shards. It has a DataLoader and is none, since Lightning counts batches and sets epochs of one over an
    iterable in its own way.
    """

    def __init__(self, data: TrainShards | EvalShards, **options: Any) -> None:
        self._length = data.batches
        self._loader = WatchedLoader(data, batch_size=data.share, collate_fn=collate, **options)

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
    """Batches of `TrainShards` whose position in an epoch can be read and set; Lightning saves it."""

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
                    f"data, now it is {ours}: shards are read in another order then. Give the same, resume from a "
                    "checkpoint at the end of an epoch, or start a new training"
                )
        self.epoch, self.start = state["epoch"] + finished, start
        self._epoch, self._delivered = self.epoch, self.start
