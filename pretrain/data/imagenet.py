"""Images sorted into folders by class, as ImageNet comes: root/{train,val}/<class>/*.JPEG.

S image size, B batch.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from pretrain.data.augment import Transform, seeded
from rtseg.data.files import IMAGE_SUFFIXES
from rtseg.errors import UserError
from rtseg.training.sampling import SampleKey, sample_seed

Broken = Literal["refuse", "skip"]
SPLITS = ("train", "val")
SUFFIXES = (*IMAGE_SUFFIXES, ".gif")
IGNORED = -1  # the label of what must not be scored
REPLACED, LEFT_OUT = "another takes its place", "left out of the scores"  # what becomes of a broken file


class Sample(NamedTuple):
    """(3, S, S) uint8 RGB, its class, and 1 where it stands for a broken file.

    In evaluation that one's class is `IGNORED`, since another image in its place would be scored twice.
    """

    image: Tensor
    label: int
    skipped: int = 0


class Batch(NamedTuple):
    """(B, 3, S, S) uint8 RGB, (B,) int64, and how many of them stand for broken files."""

    image: Tensor
    label: Tensor
    skipped: int


def collate(samples: Sequence[Sample]) -> Batch:
    """Samples of one size -> a batch, channels last in memory, as Pillow's images are: bytes are only copied, by
    `default_collate` straight into what a worker shares with the training.
    """
    images, labels, skipped = zip(*samples, strict=True)
    image = default_collate([image.permute(1, 2, 0) for image in images]).permute(0, 3, 1, 2)
    return Batch(image, torch.tensor(labels), sum(skipped))


class BrokenImage(Exception):
    """Why an image cannot be trained on: the message goes behind the file's name. `kind` is the word for a count."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def open_image(data: bytes) -> Image.Image:
    """The header of an image file. BrokenImage where it is none, or holds more than one picture."""
    if not data:
        raise BrokenImage("broken", "empty file")
    try:
        image = Image.open(BytesIO(data))
    except UnidentifiedImageError:
        raise BrokenImage("not an image", f"not an image ({len(data)} bytes)") from None
    except Exception as error:  # Pillow's readers meet damaged data with exceptions of any kind
        raise BrokenImage("broken", f"broken image ({error})") from None
    # A JPEG of several pictures (MPO) is a photograph with its preview.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        frames = getattr(image, "n_frames", 0)
        raise BrokenImage("animated", f"animated image ({frames} frames)")
    return image


def decode(data: bytes) -> Image.Image:
    """An image file -> RGB; greyscale, CMYK, palette and alpha are converted. BrokenImage where it cannot be."""
    image = open_image(data)
    try:
        image.load()
        if image.mode == "RGB":
            return image
        if image.mode.startswith("I;16"):  # Pillow would cut 16 bits at 255
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return image.convert("RGB")
    except Exception as error:  # as above
        raise BrokenImage("broken", f"broken image ({error})") from None


def repair(name: str, error: BrokenImage) -> UserError:
    """What is said of a file that the training came upon."""
    return UserError(
        f"{name}: {error}. Replace or remove it (python -m pretrain check-data finds all), or train on with "
        "--data.broken=skip"
    )


@cache
def name_skipped(name: str, why: str, instead: str) -> None:
    """Says on stderr, once in each process, that a broken file is skipped and what becomes of it."""
    print(f"data.broken=skip: {name}: {why}, {instead}", file=sys.stderr, flush=True)


def ignored(transform: Transform) -> Sample:
    """What stands for a broken file in evaluation: black, in the shape of the others."""
    return Sample(transform(Image.new("RGB", (8, 8))), IGNORED, 1)


def class_folders(root: Path) -> dict[str, tuple[str, ...]]:
    """Split -> sorted names of its class folders, for the splits that there are.

    Raises:
        UserError: there is no such folder, or no split in it.
    """
    if not root.is_dir():
        there = "it is a file" if root.exists() else "there is no such folder"
        raise UserError(f"{root}: {there}. Give the folder that holds train/<class>/*.JPEG and val/<class>")
    found = {split: tuple(sorted(_folders(root / split))) for split in SPLITS if (root / split).is_dir()}
    if not found:
        inside = ", ".join(sorted(entry.name for entry in os.scandir(root))[:8]) or "nothing"
        raise UserError(
            f"{root}: neither train/ nor val/ is in it, but {inside}. Give the folder that holds "
            "train/<class>/*.JPEG and val/<class>/*.JPEG, or shards with their index.json"
        )
    return found


def _folders(folder: Path) -> Iterator[str]:
    return (entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))


def image_names(folder: Path) -> list[str]:
    """The image files of one folder, sorted, by their names alone: looking into 1.28 million would take minutes."""
    names = (entry.name for entry in os.scandir(folder))
    return sorted(name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith("."))


def class_differences(classes: dict[str, tuple[str, ...]]) -> str:
    """Which classes only one split has, in words; empty where the splits agree."""
    train, val = (set(classes.get(split, ())) for split in SPLITS)
    if len(classes) < 2 or train == val:
        return ""
    sides = (("only in train", train - val), ("only in val", val - train))
    return "; ".join(f"{where}: {_some(sorted(names))}" for where, names in sides if names)


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def class_names(root: Path) -> tuple[str, ...]:
    """The classes of a folder, in the order of their numbers.

    Raises:
        UserError: no such folder, no classes in it, or other ones in val than in train.
    """
    found = class_folders(root)
    for split, classes in found.items():
        if not classes:
            raise UserError(
                f"{root / split} has no class folders. Images lie in one folder for each class, "
                f"{split}/n01440764/*.JPEG; ImageNet's val pictures must be sorted into those of train"
            )
    if differences := class_differences(found):
        raise UserError(f"train and val of {root} do not have the same classes ({differences}); add or remove folders")
    return next(iter(found.values()))


class ImageFolder:
    """The images of one split, read and decoded by number.

    Attributes:
        classes: names in the order of their numbers.
        labels: (N,) class numbers.

    Args:
        root: the folder of train/ and val/.
        split: "train" or "val".
        broken: what a broken or animated file does: "refuse" names it and ends, "skip" names it and goes on without.

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
                f"{root / split}: {len(empty)} of {len(self.classes)} class folders are empty: {_some(empty)}. Add "
                f"their images ({', '.join(SUFFIXES)}), or remove the folders from train and val"
            )
        self.labels = np.repeat(np.arange(len(names)), [len(files) for files in names])
        # One array and no list: a million Python objects would be copied into every worker as they are counted.
        self._files = np.array([os.fsencode(file) for files in names for file in files])

    def __len__(self) -> int:
        return len(self._files)

    def path(self, index: int) -> Path:
        """Of the file of that number."""
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
        image = self.images.read_or_skip(index, LEFT_OUT)
        if image is None:
            return ignored(self.transform)
        return Sample(self.transform(image), int(self.images.labels[index]))
