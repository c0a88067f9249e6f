"""Batches for training and evaluation out of a folder in COCO's layout."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import DataLoader, Dataset

from rtseg.checks import check_at_least, check_between, check_one_of
from rtseg.data.coco_file import CocoFile, read_coco
from rtseg.data.faults import Broken
from rtseg.data.intact import check_images_usable
from rtseg.data.origin import read_origin
from rtseg.errors import UserError
from rtseg.tasks.instances.samples import CocoImages, Sample, collate
from rtseg.terminal import counted
from rtseg.training.loading import reading
from rtseg.training.resumable_data import ResumableData, named_images
from rtseg.training.sampling import ResumableLoader, SampleKey, sample_seed
from rtseg.training.settings import flat

SPLITS = {"train": "training", "val": "validation"}


class _Training(Dataset[Sample]):
    """Images that are mirrored at random, with what a network is trained on; indexed by `SampleKey`."""

    def __init__(self, images: CocoImages, flip: float, seed: int) -> None:
        self.images, self.flip, self.seed = images, flip, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> Sample:
        with reading(self.images.coco.images[key.sample].path):
            image, objects, name = self.images[key.sample]
        objects = objects.trained()
        if np.random.default_rng(sample_seed(self.seed, key.epoch, key.sample)).random() < self.flip:
            image, objects = image.flip(2), objects.flipped()
        return Sample(image, objects, name)


class _Evaluation(Dataset[Sample]):
    def __init__(self, images: CocoImages) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> Sample:
        with reading(self.images.coco.images[place].path):
            return self.images[place]


def _only(samples: list[Sample]) -> Sample:
    """Evaluation runs image by image."""
    (sample,) = samples
    return sample


class InstanceData(ResumableData):
    """Training and validation images of COCO, or of any folder with annotation files in its format.

    Args:
        root: the folder.
        batch_size: global batch of one training step; devices share it.
        annotations: annotation file of a split, below `root`; {split} stands for train or val.
        image_folder: folder of the images of a split, below `root`.
        broken: "refuse" stops at annotations and images that cannot be used, "skip" leaves them out.
        flip: probability of the horizontal flip.
        num_workers: loader processes of each device process.
        seed: of the order and of every random number.
        timeout: seconds that the training waits for a batch of the loader processes; 0: for ever.

    Raises:
        UserError: a value that is out of range.
    """

    free_settings = (*ResumableData.free_settings, "annotations", "image_folder")

    def __init__(
        self,
        root: str,
        batch_size: int = 16,
        annotations: str = "annotations/instances_{split}2017.json",
        image_folder: str = "{split}2017",
        broken: Broken = "refuse",
        flip: float = 0.5,
        num_workers: int = 2,
        seed: int = 0,
        timeout: float = 300,
    ) -> None:
        super().__init__(batch_size=batch_size, num_workers=num_workers, seed=seed, timeout=timeout)
        check_at_least("data.batch_size", batch_size, 1)
        check_between("data.flip", flip, 0, 1)
        check_one_of("data.broken", broken, get_args(Broken))
        self.root, self.annotations, self.image_folder = Path(root), annotations, image_folder
        self.broken, self.flip = broken, flip
        self._splits: dict[str, CocoFile] = {}

    def split(self, name: str) -> CocoFile:
        """The images of "train" or "val", read once. Raises: UserError, see `read_coco`."""
        if name not in self._splits:
            file, folder = (self.root / text.replace("{split}", name) for text in (self.annotations, self.image_folder))
            self._splits[name] = read_coco(file, folder, broken=self.broken)
        return self._splits[name]

    @property
    def classes(self) -> CocoFile:
        """The split that names the classes: training's, or validation's where there is no other."""
        return self.split("train" if (self.root / self.annotations.replace("{split}", "train")).is_file() else "val")

    @property
    def num_classes(self) -> int:
        return len(self.classes.names)

    @property
    def origin(self) -> str | None:
        """Where the training images come from, if their folder says so."""
        return read_origin(self.split("train").images[0].path)

    def describe(self, split: str) -> str:
        """How many images and objects a split has, a line, and what was left out."""
        coco = self.split(split)
        counts = [(len(own), sum(one.crowd for one in own)) for own in map(coco.annotations, range(len(coco.images)))]
        objects, crowds = (sum(column) for column in zip(*counts, strict=True))
        empty = sum(not count for count, _ in counts)
        line = (
            f"{counted(len(counts), f'{SPLITS[split]} image')}, {counted(objects, 'object')} of "
            f"{counted(len(coco.names), 'class', 'es')}"
        )
        details = [f"{counted(crowds, 'crowd')} among them"] * bool(crowds)
        details += [f"{counted(empty, 'image')} without any"] * bool(empty)
        return f"{', '.join([line, *details])}." + (f"\n{coco.skipped}" if coco.skipped else "")

    def setup(self, stage: str) -> None:
        """Looks at the files of a training before its first step. Raises: UserError where some cannot be read."""
        if stage != "fit" or self.trainer is None:
            return
        names = ("val", "train") if self.trainer.limit_val_batches else ("train",)
        images = {image.path: image.size for name in names for image in self.split(name).images}
        try:
            looked = check_images_usable(images)
        except UserError as error:
            raise UserError(f"{error}\nMend them, or give --data.broken=skip to leave them out") from None
        if looked < len(images):
            rank_zero_info(f"Of {len(images)} image files, {looked} were looked at in the time for it.")

    def settings(self) -> dict[str, Any]:
        """Which images it is trained on counts as well; where they lie does not."""
        names = [image.path.name for image in self.split("train").images]
        return super().settings() | {"data.images": named_images(names)}

    def scoring(self) -> dict[str, Any]:
        return flat("data", {"classes": self.classes.names, "ids": self.classes.ids}, ())

    def create_train_loader(self) -> ResumableLoader:
        data = _Training(CocoImages(self.split("train")), self.flip, self.seed)
        return self.train_loader(data, collate)

    def val_dataloader(self) -> DataLoader[Sample]:
        data = _Evaluation(CocoImages(self.split("val")))
        return self.eval_loader(data, "val", _only)
