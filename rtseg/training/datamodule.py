"""Batches for training and evaluation out of any registered data set."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset, default_collate

from rtseg.checks import check_at_least, check_one_of
from rtseg.data.augment import PAD, EvalTransform, TrainAugment
from rtseg.data.cache import ImageCache, check_cache, open_cache
from rtseg.data.dataset import LabelSpace, Sample, SegmentationDataset, create_dataset, image_space, label_space
from rtseg.data.image_space import ImageSpace
from rtseg.data.intact import check_readable
from rtseg.errors import UserError
from rtseg.models.model_card import UPSAMPLINGS
from rtseg.training.loading import reading
from rtseg.training.resumable_data import ResumableData, named_images
from rtseg.training.sampling import AugmentedDataset, ResumableLoader
from rtseg.training.settings import flat


def pairs_of(splits: Iterable[SegmentationDataset]) -> list[tuple[Path, Path]]:
    """The image and label files of several splits, each pair once."""
    return list(dict.fromkeys(pair for split in splits if split.reads_files for pair in split.pairs))


def named_files(dataset: SegmentationDataset) -> list[str]:
    """The image files of a data set, named below the folder that they share; none where it reads no files."""
    if not dataset.reads_files:
        return []
    files = [os.path.abspath(image) for image, _ in dataset.pairs]
    common = os.path.commonpath([os.path.dirname(file) for file in files])
    return [Path(file).relative_to(common).as_posix() for file in files]


class _EvalDataset(Dataset[Sample]):
    def __init__(self, dataset: SegmentationDataset, transform: EvalTransform) -> None:
        self.dataset, self.transform = dataset, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        with reading(*self.dataset.pairs[index]):
            return self.transform(self.dataset[index])


def _collate_train(samples: Sequence[Sample]) -> Sample:
    """Samples of one size -> image (B, C, H, W), mask (B, H, W) uint8, names and sizes as lists."""
    images, masks, names, sizes = zip(*samples, strict=True)
    if len({image.dtype for image in images}) > 1:  # files of 8 and of 16 bits
        images = tuple(image.float() for image in images)
    # PyTorch's own collation stacks into shared memory where a loader process does it, which saves a copy.
    return Sample(default_collate(images), default_collate(masks), list(names), list(sizes))  # type: ignore[arg-type]


def _only(samples: Sequence[Sample]) -> Sample:
    """Evaluation runs image by image: their sizes differ."""
    (sample,) = samples
    return sample


class SegmentationData(ResumableData):
    """Training and validation batches.

    Args:
        dataset: one of `rtseg.list_datasets()`.
        root: its folder (for `folder`, its YAML file).
        batch_size: global batch of one training step; devices share it. The command line takes "auto" for this and the
            next ones: the value then follows the data (docs/own-images.md).
        crop_size: (height, width) of the training crops, or "auto".
        num_workers: loader processes of each device process.
        scales: factors of the random scale, equally likely; or "auto".
        flip: probability of the horizontal flip.
        distort: whether to change colours; null: where images are RGB of 8 bits, for which it is made.
        eval_resize: (short side, long side) that evaluation images are resized to before the network, ADE20K's rule;
            null feeds them as they are, "auto" resizes large ones. Scores are always counted at the original size.
        upsampling: how logits reach the original size where `eval_resize` changed it: "once", or "twice" as PaddleSeg
            scores its networks, by way of the size that the network saw.
        seed: of the order and of every random number.
        timeout: seconds that the training waits for a batch of the loader processes; 0: for ever.
        channels: that the image files have, which are then read at full depth, `.npy` too; null: what the data set's
            YAML says, else RGB of 8 bits.
        mean, std: of each channel, in units of 1; null: those of the network, where there are three channels.
        shown: the three channels that overlays show; null: the first three, or the first alone.
        cache: keep decoded images and labels on disk: so much, as 4GB, in rtseg's own cache; or a folder, which may
            fill its disk up to 5 %. null decodes each time. It changes no pixel.
        reduced: decode training JPEGs at a half, quarter or eighth of their sides where the random scale is no larger.
            That is faster, and smoother than the bilinear scale of the recipe.

    Raises:
        UserError: a value that is out of range, or "auto".
    """

    free_settings = (*ResumableData.free_settings, "cache")

    def __init__(
        self,
        dataset: str,
        root: str,
        batch_size: int | Literal["auto"] = 12,
        crop_size: tuple[int, int] | Literal["auto"] = (512, 1024),
        num_workers: int = 2,
        scales: tuple[float, ...] | Literal["auto"] = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0),
        flip: float = 0.5,
        distort: bool | None = None,
        eval_resize: tuple[int, int] | Literal["auto"] | None = None,
        upsampling: Literal["once", "twice"] = "once",
        seed: int = 0,
        timeout: float = 300,
        channels: int | None = None,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        shown: tuple[int, int, int] | None = None,
        cache: str | None = None,
        reduced: bool = False,
    ) -> None:
        if batch_size == "auto" or crop_size == "auto" or scales == "auto" or eval_resize == "auto":
            raise UserError("`auto` is for the command line: `rtseg fit` puts a value in its place; give one yourself")
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed, timeout=timeout)
        self.dataset, self.root, self.crop_size = dataset, Path(root), crop_size
        self.images = image_space(dataset, self.root, ImageSpace(channels, mean, std, shown))
        self.channels, self.mean, self.std, self.shown = channels, self.images.mean, self.images.std, self.images.shown
        if distort and self.images.channels is not None:
            raise UserError(
                "data.distort changes colours, and is for RGB of 8 bits: leave it out where images have data.channels"
            )
        self.distort = self.images.channels is None if distort is None else distort
        self.scales, self.flip, self.eval_resize = scales, flip, eval_resize
        check_one_of("data.upsampling", upsampling, UPSAMPLINGS)
        self.upsampling, self.cache = upsampling, cache
        if cache is not None:
            check_cache(cache, dataset, self.root)  # before the network is built, and before other processes start
        if reduced and (cache is not None or self.images.channels is not None):
            raise UserError(
                "data.reduced decodes JPEGs of RGB anew each time: leave it out beside data.cache and data.channels"
            )
        self.reduced = reduced
        self._cache: ImageCache | None = None
        self._splits: dict[str, SegmentationDataset] = {}
        # Zero once normalised, where levels may have any range; 127 is the recipe's.
        pad = [255 * value for value in self.mean] if self.images.channels is not None and self.mean else PAD
        self.augment = TrainAugment(crop_size, scales=scales, flip=flip, distort=self.distort, pad=pad)
        self.eval_transform = EvalTransform(resize=eval_resize)

    @property
    def labels(self) -> LabelSpace:
        """Names, colours and ids of the classes."""
        return label_space(self.dataset, self.root)

    @property
    def in_channels(self) -> int | None:
        """Channels of the images, at full depth; None: RGB of 8 bits."""
        return self.images.channels

    @property
    def num_classes(self) -> int:
        return len(self.labels.names)

    @property
    def origin(self) -> str | None:
        """Where the training images come from, if their folder says so."""
        return self.split("train").origin

    def split(self, name: str) -> SegmentationDataset:
        """The pairs of "train", "val" or "test", found once."""
        if name not in self._splits:
            self._splits[name] = create_dataset(self.dataset, self.root, name, self.channels)
        return self._splits[name]

    def setup(self, stage: str) -> None:
        """Looks at the files of a training before its first step, so that none of them costs an epoch.

        Raises:
            UserError: some cannot be read; or the batch is of one image.
        """
        self.images.check_normalised()
        if stage == "fit":
            check_at_least("data.batch_size", self.batch_size, 2, "BatchNorm needs two values a channel")
        if stage != "fit" or self.trainer is None:
            return
        if self.images.channels is not None and stage == "fit":
            rank_zero_info("Colour distortion is off: it is for RGB of 8 bits.")
        names = ("val", "train") if self.trainer.limit_val_batches else ("train",)
        pairs = pairs_of(map(self.split, names))
        if (looked := check_readable(pairs, read=self.split("train").read)) < len(pairs):
            rank_zero_info(
                f"Of {len(pairs)} pairs of image and label file, {looked} were looked at in the time for it."
            )

    def settings(self) -> dict[str, Any]:
        """Which images it is trained on counts as well; where they lie does not."""
        names = [f"{image.name} {mask.name}" for image, mask in self.split("train").pairs]
        return super().settings() | {"data.images": named_images(names)}

    def scoring(self) -> dict[str, Any]:
        labels = self.labels
        rule: dict[str, Any] = {"eval_resize": self.eval_resize, "upsampling": self.upsampling}
        rule |= {"channels": self.images.channels, "mean": self.mean, "std": self.std}
        return flat("data", {**rule, "classes": labels.names, "ids": labels.ids}, ())

    def _cached(self, name: str) -> SegmentationDataset:
        """A split that reads by way of the cache, where there is one."""
        dataset = self.split(name)
        if self.cache is None:
            return dataset
        if not dataset.reads_files:
            rank_zero_info(f"data.cache is of no use here: data set '{self.dataset}' reads in a way of its own.")
            return dataset
        if self._cache is None:
            self._cache = open_cache(self.cache, self.dataset, self.root)
        dataset.cache = self._cache
        return dataset

    def create_train_loader(self) -> ResumableLoader:
        data = self._cached("train")
        reduced = self.reduced and data.reads_files
        augmented = AugmentedDataset(data, self.augment, self.seed, reduced=reduced)
        return self.train_loader(augmented, _collate_train)

    def _eval_dataloader(self, split: str) -> DataLoader[Sample]:
        data = _EvalDataset(self._cached(split), self.eval_transform)
        return self.eval_loader(data, split, _only)

    def val_dataloader(self) -> DataLoader[Sample]:
        return self._eval_dataloader("val")

    def test_dataloader(self) -> DataLoader[Sample]:
        return self._eval_dataloader("test")
