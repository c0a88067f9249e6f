"""Batches for training and evaluation out of any registered data set."""

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from rtseg.data.augment import EvalTransform, TrainAugment, single_thread_opencv
from rtseg.data.dataset import LabelSpace, Sample, SegmentationDataset, create_dataset, label_space
from rtseg.errors import UserError
from rtseg.training.sampling import AugmentedDataset, GlobalBatchSampler, ResumableLoader, ShardSampler


class _EvalDataset(Dataset[Sample]):
    def __init__(self, dataset: SegmentationDataset, transform: EvalTransform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])


def _collate_train(samples: Sequence[Sample]) -> Sample:
    """Samples of one size -> image (B, 3, H, W) uint8, mask (B, H, W) int64, names and sizes as lists."""
    images, masks, names, sizes = zip(*samples, strict=True)
    return Sample(torch.stack(images), torch.stack(masks), list(names), list(sizes))  # type: ignore[arg-type]


def _only(samples: Sequence[Sample]) -> Sample:
    """Evaluation runs image by image: their sizes differ."""
    (sample,) = samples
    return sample


def _start_worker(worker: int) -> None:
    """The terminal sends Ctrl-C to the loader's processes too, but the training decides when they end.

    And a worker is one thread.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    single_thread_opencv()


class SegmentationData(L.LightningDataModule):
    """Training and validation batches.

    Args:
        dataset: one of `rtseg.list_datasets()`.
        root: its folder (for `folder`, its YAML file).
        batch_size: global batch of one training step; devices share it.
        crop_size: (height, width) of the training crops.
        num_workers: loader processes of each device process.
        scales: factors of the random scale, equally likely.
        flip: probability of the horizontal flip.
        distort: whether to change colours.
        eval_resize: (short side, long side) that evaluation images are resized to before the network, ADE20K's rule;
            null feeds them as they are. Scores are always counted at the original size.
        seed: of the order and of every random number.
    """

    def __init__(
        self,
        dataset: str,
        root: str,
        batch_size: int = 12,
        crop_size: tuple[int, int] = (512, 1024),
        num_workers: int = 2,
        scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
        flip: float = 0.5,
        distort: bool = True,
        eval_resize: tuple[int, int] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if num_workers < 0:
            raise UserError(f"data.num_workers={num_workers} must not be negative; 0 loads in the training process")
        self.dataset, self.root, self.batch_size, self.seed = dataset, Path(root), batch_size, seed
        self.crop_size, self.num_workers = crop_size, num_workers
        self.augment = TrainAugment(crop_size, scales=scales, flip=flip, distort=distort)
        self.eval_transform = EvalTransform(resize=eval_resize)
        self._train_loader: ResumableLoader | None = None
        self._position: dict[str, int] | None = None

    @property
    def labels(self) -> LabelSpace:
        """Names, colours and ids of the classes."""
        return label_space(self.dataset, self.root)

    @property
    def num_classes(self) -> int:
        return len(self.labels.names)

    def _loader_options(self) -> dict[str, Any]:
        return {
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": _start_worker,
            # Its own generator, so that making a loader draws nothing from the generator of the training.
            "generator": torch.Generator().manual_seed(self.seed),
        }

    def _ranks(self) -> dict[str, int]:
        trainer = self.trainer
        return {"rank": trainer.global_rank if trainer else 0, "world_size": trainer.world_size if trainer else 1}

    def train_dataloader(self) -> ResumableLoader:
        data = AugmentedDataset(create_dataset(self.dataset, self.root, "train"), self.augment, self.seed)
        batches = GlobalBatchSampler(len(data), self.batch_size, seed=self.seed, **self._ranks())
        self._train_loader = ResumableLoader(data, batches, collate_fn=_collate_train, **self._loader_options())
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

    def _eval_dataloader(self, split: str) -> DataLoader[Sample]:
        data = _EvalDataset(create_dataset(self.dataset, self.root, split), self.eval_transform)
        ranks = self._ranks()
        if len(data) < ranks["world_size"]:
            raise UserError(
                f"{len(data)} '{split}' images for {ranks['world_size']} devices: each needs one; use fewer devices"
            )
        shard = ShardSampler(len(data), **ranks)
        return DataLoader(data, batch_size=1, sampler=shard, collate_fn=_only, **self._loader_options())

    def val_dataloader(self) -> DataLoader[Sample]:
        return self._eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        return self._eval_dataloader("test")
