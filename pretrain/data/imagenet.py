"""Data sets out of class folders (`class_folders.py`), for training and for evaluation."""

import os
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from pretrain.data.augment import Transform, seeded
from pretrain.data.class_folders import SUFFIXES, class_names, image_names, some_of
from pretrain.data.image_files import LEFT_OUT, REPLACED, Broken, BrokenImage, decode, name_skipped, repair
from pretrain.data.samples import Sample, ignored
from rtseg.errors import UserError
from rtseg.training.loading import reading
from rtseg.training.sampling import SampleKey, sample_seed


class ImageFolder:
    """The images of one split, read and decoded by number.

    Attributes:
        classes: names in the order of their numbers.
        labels: (N,) class numbers.

    Args:
        root: the folder of train/ and val/.
        split: "train" or "val".
        broken: what to do about a broken or animated file: "refuse" names it and ends, "skip" names it and leaves it
            out.

    Raises:
        UserError: a split or class folder is missing or empty, or the splits have unlike classes.
    """

    def __init__(self, root: Path, split: str, *, broken: Broken = "refuse") -> None:
        self.root, self.split, self.broken = root, split, broken
        self.classes = class_names(root)
        if not (root / split).is_dir():
            raise UserError(f"{root} has no folder {split}/; put {split}/<class>/*.JPEG beside the other split")
        names = [image_names(root / split / name) for name in self.classes]
        empty = [name for name, files in zip(self.classes, names, strict=True) if not files]
        if empty:
            raise UserError(
                f"{root / split}: {len(empty)} of {len(self.classes)} class folders are empty: {some_of(empty)}. Add "
                f"their images ({', '.join(SUFFIXES)}), or remove the folders from train and val"
            )
        self.labels = np.repeat(np.arange(len(names)), [len(files) for files in names])
        # One array and no list: a million Python objects would be copied into every worker as they are counted.
        self._files = np.array([os.fsencode(file) for files in names for file in files])

    def __len__(self) -> int:
        return len(self._files)

    def path(self, index: int) -> Path:
        """The path of the file of that number."""
        return self.root / self.split / self.classes[self.labels[index]] / os.fsdecode(self._files[index])

    def read(self, index: int) -> tuple[Image.Image, int, int]:
        """RGB image, its class, and 1 where it is the next good file's, since this one is broken.

        Raises:
            UserError: the file cannot be read, or with "skip" not one.
        """
        for at in (*range(index, len(self)), *range(index)):
            image = self.read_or_skip(at, REPLACED)
            if image is not None:
                return image, int(self.labels[at]), int(at != index)
        raise UserError(f"not one of the {len(self)} images in {self.root / self.split} can be read")

    def read_or_skip(self, index: int, instead: str) -> Image.Image | None:
        """RGB image; None where the file is broken and skipped.

        Args:
            instead: what becomes of it then, see `name_skipped`.

        Raises:
            UserError: it is broken, and refused.
        """
        path = self.path(index)
        try:
            return decode(_read(path))
        except BrokenImage as error:
            if self.broken == "refuse":
                raise repair(str(path), error) from None
            name_skipped(str(path), str(error), instead)
            return None


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError as error:
        raise BrokenImage("broken", f"cannot be read ({error.strerror})") from None


class TrainImages(Dataset[Sample]):
    """Augmented images, indexed by `SampleKey`."""

    def __init__(self, images: ImageFolder, transform: Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: SampleKey) -> Sample:
        with reading(self.images.path(key.sample)):
            image, label, skipped = self.images.read(key.sample)
        with seeded(sample_seed(self.seed, key.epoch, key.sample)):
            return Sample(self.transform(image), label, skipped)


class EvalImages(Dataset[Sample]):
    """Images for evaluation, indexed by number; see `ignored` for the broken ones."""

    def __init__(self, images: ImageFolder, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        with reading(self.images.path(index)):
            image = self.images.read_or_skip(index, LEFT_OUT)
        if image is None:
            return ignored(self.transform)
        return Sample(self.transform(image), int(self.images.labels[index]))
