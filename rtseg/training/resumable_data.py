"""The common part of the data of all trainings: loader processes, ranks, a position that a checkpoint keeps."""

import hashlib
import inspect
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import asdict, is_dataclass
from typing import Any, Protocol, cast

import lightning as L
import torch
from torch.utils.data import Dataset

from rtseg.checks import check_at_least, check_between
from rtseg.errors import UserError
from rtseg.training.loading import StartWorker, WatchedLoader
from rtseg.training.sampling import GlobalBatchSampler, ResumableLoader, ShardSampler
from rtseg.training.settings import flat


def named_images(names: Sequence[str]) -> str:
    """How many images there are, and a hash of their names: what a resumed training must be trained on again."""
    digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
    return f"{len(names)} (names {digest[:8]})"


class ResumableBatches(Protocol):
    """Training batches whose position in an epoch can be read and set."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, int]: ...

    def load_state_dict(self, state: dict[str, int]) -> None: ...


class ResumableData(L.LightningDataModule):
    """Base of the data of a training. Subclasses make the loaders.

    Args:
        batch_size: size of a global batch, of all devices together.
        num_workers: loader processes of each device process.
        timeout: seconds that the training waits for a batch of these; 0: for ever.
        seed: seed of the order and of every random number.
    """

    # Arguments that a resumed training may change: they change nothing in what is trained.
    free_settings: tuple[str, ...] = ("root", "num_workers", "timeout")

    def __init__(self, *, batch_size: int, num_workers: int, seed: int, timeout: float = 300) -> None:
        super().__init__()
        check_between("data.num_workers", num_workers, 0, 1024, "0 loads in the training process")
        check_at_least("data.timeout", timeout, 0, "it is in seconds; 0 waits for ever")
        self.batch_size, self.num_workers, self.seed, self.timeout = batch_size, num_workers, seed, timeout
        self._train_loader: ResumableBatches | None = None
        self._position: dict[str, Any] | None = None

    def create_train_loader(self) -> ResumableBatches:
        """Batches from the beginning of the training."""
        raise NotImplementedError

    def train_dataloader(self) -> ResumableBatches:
        """Batches from where the checkpoint left off, if there is one."""
        self._train_loader = self.create_train_loader()
        if self._position is not None:
            self._train_loader.load_state_dict(self._position)
            self._position = None
        return self._train_loader

    # Lightning saves the loader's position itself, but restores it only into a loader made after the checkpoint was
    # read, and the schedule needs the loader's length before that. A datamodule's state is read first.
    def state_dict(self) -> dict[str, Any]:
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._position = dict(state)

    def settings(self) -> dict[str, Any]:
        """The settings that a resumed training must keep, by flag; each argument is an attribute of the same name."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in self.free_settings]
        values = {name: getattr(self, name) for name in names}
        groups = {name: asdict(value) if is_dataclass(value) else value for name, value in values.items()}  # type: ignore[arg-type]
        return flat("data", groups, ()) | self.scoring()

    def scoring(self) -> dict[str, Any]:
        """The settings that a score depends on, by flag."""
        raise NotImplementedError

    def loader_options(self) -> dict[str, Any]:
        """Arguments that all DataLoaders of a training share."""
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": StartWorker(self.num_workers),
            "timeout": self.timeout if self.num_workers else 0,
            # Its own generator, so that making a loader draws nothing from the generator of the training.
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def ranks(self) -> dict[str, int]:
        """`rank` of this process and `world_size`; a process alone where there is no trainer."""
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world_size": trainer.world_size if trainer else 1}

    def train_loader(self, data: Dataset[Any], collate: Callable[[list[Any]], Any]) -> ResumableLoader:
        """Shuffled batches of this process, from the beginning of the training; see `GlobalBatchSampler`."""
        parts = self.trainer.accumulate_grad_batches if self.trainer else 1
        batches = GlobalBatchSampler(
            len(cast(Sized, data)), self.batch_size, seed=self.seed, accumulated=parts, **self.ranks()
        )
        return ResumableLoader(data, batches, collate_fn=collate, **self.loader_options())

    def eval_loader(
        self, data: Dataset[Any], split: str, collate: Callable[[list[Any]], Any], batch_size: int = 1
    ) -> WatchedLoader:
        """The samples of a split that this process scores, in order. Raises: UserError, see `eval_share`."""
        share = self.eval_share(len(cast(Sized, data)), split)
        return WatchedLoader(data, batch_size=batch_size, sampler=share, collate_fn=collate, **self.loader_options())

    def eval_share(self, num_samples: int, split: str) -> ShardSampler:
        """Which samples of a split this process scores.

        Raises:
            UserError: there are fewer samples than processes.
        """
        ranks = self.ranks()
        if num_samples < ranks["world_size"]:
            raise UserError(
                f"{num_samples} '{split}' images for {ranks['world_size']} devices: each needs one; use fewer devices"
            )
        return ShardSampler(num_samples, **ranks)
