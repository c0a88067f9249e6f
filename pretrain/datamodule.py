"""Batches of ImageNet for training and evaluation, out of class folders or shards."""

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader

from pretrain.data.augment import AugmentConfig, eval_transform, train_transform
from pretrain.data.class_folders import class_names
from pretrain.data.image_files import Broken
from pretrain.data.imagenet import EvalImages, ImageFolder, TrainImages
from pretrain.data.samples import collate
from pretrain.data.shard_index import ShardIndex, find_index
from pretrain.data.shard_loader import ShardBatches, ShardLoader
from pretrain.data.shards import EvalShards, TrainShards
from rtseg.checks import check_at_least, check_multiple, check_one_of
from rtseg.errors import UserError
from rtseg.training.loading import WatchedLoader
from rtseg.training.resumable_data import ResumableBatches, ResumableData
from rtseg.training.sampling import GlobalBatchSampler, ResumableLoader

_LAYOUTS = ("class folders", "shards")


def accumulated_parts(batch_size: int, device_batch_size: int, world_size: int) -> int:
    """The number of parts in which each device takes its share of a global batch.

    Raises:
        UserError: the batch is not that many devices' times a whole number.
    """
    check_multiple("data.batch_size", batch_size, world_size, f"it is the batch of all {world_size} devices together")
    share = batch_size // world_size
    size = min(device_batch_size, share)
    if share % size:
        whole = max(divisor for divisor in range(1, size) if share % divisor == 0)
        times = world_size * size
        raise UserError(
            f"data.batch_size={batch_size} is not a whole number of parts of {world_size} devices x {size} images: "
            f"give data.device_batch_size={whole}, or data.batch_size={batch_size // times * times} or "
            f"{(batch_size // times + 1) * times}"
        )
    return share // size


class ImageNetData(ResumableData):
    """Training and validation batches.

    Args:
        root: the folder of train/<class>/*.JPEG and val/<class>/*.JPEG; or folder or URL of shards, which holds an
            index.json (`python -m pretrain make-shards`).
        batch_size: global batch of one optimizer step, on any number of devices.
        device_batch_size: images that a device takes at a time, at most; the rest of its share is accumulated.
        num_workers: loader processes of each device.
        broken: what to do about a broken or animated image: "refuse" ends the training and names it; "skip" names and
            counts it, takes another in training, and leaves it out of the scores.
        augment: see `AugmentConfig`.
        eval_batch_size: images that a device scores at a time.
        seed: seed of the order and of every random number.
        timeout: seconds that the training waits for a batch of the loader processes; 0: for ever.
        expected_classes: number of classes that the data must have; null: any.
    """

    free_settings = (
        *ResumableData.free_settings, "device_batch_size", "broken", "eval_batch_size", "expected_classes",
    )  # fmt: skip

    def __init__(
        self,
        root: str,
        batch_size: int = 1024,
        device_batch_size: int = 128,
        num_workers: int = 2,
        broken: Broken = "refuse",
        augment: AugmentConfig = AugmentConfig(),  # noqa: B008  (frozen)
        eval_batch_size: int = 128,
        seed: int = 0,
        expected_classes: int | None = None,
        timeout: float = 300,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed, timeout=timeout)
        sizes = {"batch_size": batch_size, "device_batch_size": device_batch_size, "eval_batch_size": eval_batch_size}
        for key, size in sizes.items():
            check_at_least(f"data.{key}", size, 1)
        check_one_of("data.broken", broken, get_args(Broken))
        self.root, self.broken, self.augment, self.expected_classes = root, broken, augment, expected_classes
        self.device_batch_size, self.eval_batch_size = device_batch_size, eval_batch_size

    @cached_property
    def _shards(self) -> ShardIndex | None:
        return find_index(self.root)

    @cached_property
    def _train_images(self) -> ImageFolder:
        return ImageFolder(Path(self.root), "train", broken=self.broken)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of their numbers. UserError where they are not as many as expected."""
        found = class_names(Path(self.root)) if self._shards is None else self._shards.classes
        if self.expected_classes not in (None, len(found)):
            raise UserError(
                f"data.root={self.root} has {len(found)} classes, data.expected_classes={self.expected_classes}: give "
                f"the folder of the whole data set, or --data.expected_classes={len(found)} if these are all"
            )
        return found

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def train_size(self) -> int:
        """Training images."""
        return len(self._train_images) if self._shards is None else self._shards.size("train")

    def setup(self, stage: str) -> None:
        """Has the trainer accumulate what one device cannot take at once."""
        if stage != "fit" or self.trainer is None:
            return
        world_size, parts = self.trainer.world_size, self._parts()
        if self.trainer.accumulate_grad_batches not in (1, parts):
            raise UserError(
                f"trainer.accumulate_grad_batches={self.trainer.accumulate_grad_batches} is decided by the batch: "
                f"data.batch_size={self.batch_size} on {world_size} devices is {parts} parts; leave it out and change "
                "data.batch_size or data.device_batch_size"
            )
        self.trainer.accumulate_grad_batches = parts
        size = self.batch_size // (world_size * parts)
        rank_zero_info(f"Global batch {self.batch_size} = {world_size} devices x {size} x {parts} accumulated")

    def _parts(self) -> int:
        return accumulated_parts(self.batch_size, self.device_batch_size, self.ranks()["world_size"])

    def scoring(self) -> dict[str, Any]:
        keys = ("image_size", "crop_pct", "interpolation")
        return {f"data.augment.{key}": getattr(self.augment, key) for key in keys}

    def create_train_loader(self) -> ResumableLoader | ShardLoader:
        transform, options = train_transform(self.augment), self.loader_options()
        order: dict[str, Any] = {"seed": self.seed, "pieces": self._parts(), **self.ranks()}
        if self._shards is not None:
            shards = TrainShards(self._shards, transform, self.batch_size, broken=self.broken, **order)
            return ShardLoader(shards, **options)
        batches = GlobalBatchSampler(len(self._train_images), self.batch_size, **order)
        images = TrainImages(self._train_images, transform, self.seed)
        return ResumableLoader(images, batches, collate_fn=collate, **options)

    def train_dataloader(self) -> ResumableBatches:
        """Raises: UserError where a training from another layout is resumed."""
        in_shards = self._shards is not None
        if self._position is not None and self._position.pop("shards", in_shards) != in_shards:
            raise UserError(
                f"data.root={self.root} holds {_LAYOUTS[in_shards]}, but the checkpoint was trained from "
                f"{_LAYOUTS[not in_shards]}, which are read in another order: give those, or start a new training"
            )
        return super().train_dataloader()

    def state_dict(self) -> dict[str, Any]:
        position = super().state_dict()
        return position and {"shards": self._shards is not None, "augment": asdict(self.augment), **position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises: UserError where images are augmented in another way."""
        augment = state.get("augment", {})
        super().load_state_dict({key: value for key, value in state.items() if key != "augment"})
        for key, theirs in augment.items():
            if theirs != (ours := getattr(self.augment, key)):
                raise UserError(
                    f"data.augment.{key}={ours} differs from the checkpoint's {theirs}; a resumed training keeps its "
                    "settings: give the same, or start a new training"
                )

    def val_dataloader(self) -> DataLoader[Any] | ShardBatches:
        transform, options = eval_transform(self.augment), self.loader_options()
        source = self._shards or ImageFolder(Path(self.root), "val", broken=self.broken)
        share = self.eval_share(source.size("val") if isinstance(source, ShardIndex) else len(source), "val")
        if isinstance(source, ShardIndex):
            shards = EvalShards(source, transform, self.eval_batch_size, broken=self.broken, **self.ranks())
            return ShardBatches(shards, **options)
        return WatchedLoader(
            EvalImages(source, transform),
            batch_size=self.eval_batch_size,
            sampler=share,
            collate_fn=collate,
            **options,
        )
