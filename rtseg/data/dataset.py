"""Pairs of image and label file -> Sample: what every data set shares, and the names they are found by.

A data set is a function (root, split) that finds the pairs and says how label files are written; it is found by name.
"""

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from rtseg.checks import check_one_of
from rtseg.data.cache import ImageCache
from rtseg.data.channels import read_channels
from rtseg.data.files import read_image, read_mask
from rtseg.data.image_space import ImageSpace
from rtseg.data.origin import read_origin
from rtseg.errors import UserError
from rtseg.registry import Registry

IGNORE = 255
Array = TypeVar("Array", np.ndarray, torch.Tensor)
MOST_CLASSES = 254
_UNKNOWN = 254  # what a label table holds for values that mean nothing; classes end before it


class Sample(NamedTuple, Generic[Array]):
    """One image and its labels.

    Sample[np.ndarray] from a data set: image HWC uint8 RGB, or where the data set has `channels` uint8 or float32 grey
    levels; mask HW uint8 (0..K-1, 255 = ignore). Sample[torch.Tensor] from a transform: image CHW of the same type,
    mask HW uint8. `size` is the (height, width) of the image on disk.
    """

    image: Array
    mask: Array
    name: str
    size: tuple[int, int]


@dataclass(frozen=True)
class LabelSpace:
    """The classes of a data set: class k is called names[k], drawn in palette[k], written ids[k] in its label files."""

    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    ids: tuple[int, ...]
    ignore_index: int = IGNORE

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MOST_CLASSES:
            raise UserError(f"a data set has 1 to {MOST_CLASSES} classes, not {len(self.names)}; merge or ignore some")
        if not len(self.names) == len(self.palette) == len(self.ids):
            counts = f"{len(self.names)} names, {len(self.palette)} colours, {len(self.ids)} ids"
            raise UserError(f"each class needs one name, one colour and one id; got {counts}")


def default_palette(num_classes: int) -> tuple[tuple[int, int, int], ...]:
    """Colours (RGB) for classes that have none: hues a golden angle apart, so neighbours differ and none repeats."""
    golden = (5**0.5 - 1) / 2

    def color(k: int) -> tuple[int, int, int]:
        r, g, b = colorsys.hsv_to_rgb(k * golden % 1, 0.55 + 0.35 * (k % 2), 0.95 - 0.3 * (k // 2 % 2))
        return round(255 * r), round(255 * g), round(255 * b)

    return tuple(color(k) for k in range(num_classes))


class UnknownLabelError(UserError):
    """The mask in `path` holds numbers that are no class: `highest` is the greatest of them."""

    def __init__(self, message: str, path: Path, highest: int) -> None:
        super().__init__(message)
        self.path, self.highest = path, highest


class MaskDecoder(Protocol):
    """Turns the content of a label file into classes."""

    def __call__(self, raw: np.ndarray, path: Path) -> np.ndarray:
        """raw HW or HWC (RGB or RGBA), as stored -> HW uint8, 0..K-1 or 255."""
        ...


class IdDecoder:
    """Label files that hold one number per pixel.

    Args:
        classes: file value -> class 0..K-1, or 255 for ignore. Values up to 65535, so 16-bit files work too.

    Attributes:
        meanings: `classes`, as given.
    """

    def __init__(self, classes: Mapping[int, int]) -> None:
        self.meanings = dict(classes)
        self.allowed = sorted(classes)
        self.table = np.full(65536, _UNKNOWN, np.uint8)
        self.table[self.allowed] = [classes[value] for value in self.allowed]

    def __call__(self, raw: np.ndarray, path: Path) -> np.ndarray:
        if raw.ndim == 3:
            if (raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all():
                repair = "They are equal: save one of them as a grey PNG"
            else:
                repair = (
                    "This looks like a colour mask; describe it to data set 'folder' with `colors: {class: [r, g, b]}`"
                )
            raise UserError(f"{path}: {raw.shape[2]} channels where one class number per pixel is expected. {repair}")
        mask = cv2.LUT(raw, self.table[:256]) if raw.dtype == np.uint8 else self.table[raw]
        if (mask == _UNKNOWN).any():
            values, counts = np.unique(raw[mask == _UNKNOWN], return_counts=True)
            raise UnknownLabelError(
                f"{path}: label {tally(values, counts)} outside the classes. Allowed: {ranges(self.allowed)}. "
                "Repair the file, or map the value to a class or to ignore (data set 'folder': `label_map`, `ignore`)",
                path,
                int(values.max()),
            )
        return mask


class SegmentationDataset(Dataset[Sample[np.ndarray]]):
    """Image and label files, read one pair at a time.

    Args:
        pairs: (image file, label file).
        labels: the classes.
        split: which part this is, e.g. "train".
        decode: how the label files are written.

    Attributes:
        channels: that images have, at full depth (`read_channels`); None: RGB of 8 bits. `create_dataset` sets it.
        cache: where decoded files are kept, and looked for first; arrays are then read-only.

    Raises (from indexing):
        UserError: a file that cannot be read whole, a label value outside the classes, a mask of another size.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], labels: LabelSpace, split: str, decode: MaskDecoder) -> None:
        self.pairs = list(pairs)
        self.labels = labels
        self.split = split
        self.decode = decode
        self.channels: int | None = None
        self.cache: ImageCache | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def reads_files(self) -> bool:
        """Whether its pairs are image and label files; a subclass that reads in a way of its own knows better."""
        return type(self).__getitem__ is SegmentationDataset.__getitem__

    @property
    def origin(self) -> str | None:
        """Where the images come from, if a card beside them says so (`rtseg.data.origin`)."""
        return read_origin(Path(self.pairs[0][0])) if self.reads_files and self.pairs else None

    def read(self, path: Path) -> np.ndarray:
        """An image file, (H, W, C). Raises: UserError, see `read_image` and `read_channels`."""
        return read_image(path) if self.channels is None else read_channels(path, self.channels)

    def mask(self, index: int) -> np.ndarray:
        """The classes of an image, (H, W) uint8, without reading the image where that can be done."""
        if not self.reads_files:
            return self[index].mask
        path = self.pairs[index][1]
        return self.decode(read_mask(path), path)

    def _load(self, path: Path, kind: str, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        return read(path) if self.cache is None else self.cache.get(path, kind, read)

    def __getitem__(self, index: int) -> Sample[np.ndarray]:
        image_path, mask_path = self.pairs[index]
        image = self._load(image_path, f"image of {self.channels} channels", self.read)
        mask = self.decode(self._load(mask_path, "labels", read_mask), mask_path)
        return self._sample(index, image, mask, image.shape[:2])

    def shrunk(self, index: int, shrink: int) -> Sample[np.ndarray]:
        """A sample whose image has 1 / `shrink` of its sides (1, 2, 4 or 8) where `read_image` can do so, its mask all.

        Raises:
            UserError: as from indexing.
        """
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path, shrink=shrink) if self.channels is None else self.read(image_path)
        mask = self.decode(read_mask(mask_path), mask_path)
        sizes = [(factor * image.shape[0], factor * image.shape[1]) for factor in (1, 2, 4, 8) if factor <= shrink]
        return self._sample(index, image, mask, mask.shape if mask.shape in sizes else image.shape[:2])

    def _sample(self, index: int, image: np.ndarray, mask: np.ndarray, size: tuple[int, ...]) -> Sample[np.ndarray]:
        """Args: size: (height, width) of the image in its file."""
        image_path, mask_path = self.pairs[index]
        if mask.shape != size:
            swapped = mask.shape == size[::-1]
            raise UserError(
                f"{mask_path} has (height, width) {mask.shape}, but its image {image_path} has {size}. "
                + "The sides are swapped: the image may be rotated by its EXIF tag. " * swapped
                + "Label the image at its own size, or resize the mask (nearest neighbour)"
            )
        return Sample(image, mask, image_path.stem, (size[0], size[1]))


def tally(values: Sequence[object] | np.ndarray, counts: np.ndarray, most: int = 5) -> str:
    """'7 (12 pixels), 9 (1 pixel)', the commonest first."""
    order = np.argsort(-counts, kind="stable")
    parts = [f"{values[i]} ({counts[i]} pixel{'s' if counts[i] != 1 else ''})" for i in order[:most]]
    return ", ".join(parts) + (f" and {len(values) - most} more values" if len(values) > most else "")


def ranges(values: Sequence[int]) -> str:
    """[0, 1, 2, 255] -> '0-2, 255'."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1][1:] = [value]
        else:
            runs.append([value])
    return ", ".join("-".join(map(str, run)) for run in runs)


def check_split(name: str, split: str, splits: Sequence[str]) -> None:
    """Raises UserError, with the nearest right name, where a data set has no such split."""
    check_one_of(f"data set '{name}': split", split, splits)


Builder = Callable[..., SegmentationDataset]
ImagesOf = Callable[[Path | None], ImageSpace]
LabelsOf = Callable[[Path | None], LabelSpace]
DecoderOf = Callable[[Path | None], MaskDecoder]


@dataclass(frozen=True)
class _Entry:
    build: Builder
    labels: LabelsOf
    decoder: DecoderOf | None
    images: ImagesOf | None


_DATASETS: Registry[_Entry] = Registry("data set")


def register_dataset(
    name: str,
    labels: LabelSpace | LabelsOf,
    decoder: DecoderOf | None = None,
    *,
    images: ImagesOf | None = None,
) -> Callable[[Builder], Builder]:
    """Decorator: files a function (root, split) -> SegmentationDataset under `name`.

    Args:
        labels: the classes, or a function root -> classes where they depend on the files.
        decoder: a function root -> how label files are written, for `rtseg score`, which has label files alone. None:
            the ids of the classes, and 255 where it is none of them for what is ignored.
        images: a function root -> what images hold, where the files say it; the decorated function is then called with
            (root, split, channels).

    Raises:
        UserError: `labels` are neither; or, from the decorator, the name is taken.
    """
    if not (isinstance(labels, LabelSpace) or callable(labels)):
        raise UserError(f"data set '{name}': its classes are a {type(labels).__name__}; give a LabelSpace")

    register = _DATASETS.register(name)

    def decorate(build: Builder) -> Builder:
        register(_Entry(build, (lambda root: labels) if isinstance(labels, LabelSpace) else labels, decoder, images))
        return build

    return decorate


def create_dataset(name: str, root: str | Path, split: str, channels: int | None = None) -> SegmentationDataset:
    """The `split` of data set `name` under `root`.

    Args:
        channels: of its images, at full depth (`rtseg.data.channels`); None: what its files say, else RGB of 8 bits.

    Raises:
        UnknownNameError: no such data set.
        UserError: no such split, or files missing or laid out otherwise than docs/data.md says.
    """
    entry, root = _DATASETS.get(name), Path(root).expanduser()
    channels = image_space(name, root, ImageSpace(channels)).channels
    dataset = entry.build(root, split) if entry.images is None else entry.build(root, split, channels)
    check_dataset(name, dataset)
    dataset.channels = channels
    return dataset


def check_dataset(name: str, dataset: SegmentationDataset) -> None:
    """Raises: UserError where what a registered function made is no data set or has no image."""
    if not isinstance(dataset, SegmentationDataset):
        raise UserError(
            f"data set '{name}': its function returned a {type(dataset).__name__}, not a SegmentationDataset"
        )
    if not len(dataset):
        raise UserError(
            f"data set '{name}': its function found no '{dataset.split}' image; it should say which it wants"
        )


def list_datasets() -> list[str]:
    """All names that create_dataset takes, sorted."""
    return _DATASETS.names()


def image_space(name: str, root: str | Path, given: ImageSpace = ImageSpace()) -> ImageSpace:  # noqa: B008  (frozen)
    """What the images of data set `name` hold: what is given, and for the rest what its files say.

    Raises:
        UnknownNameError: no such data set.
        UserError: the two contradict each other.
    """
    entry = _DATASETS.get(name)
    return given if entry.images is None else given.over(entry.images(Path(root).expanduser()))


def label_space(name: str, root: str | Path | None = None) -> LabelSpace:
    """The classes of data set `name`. Only 'folder' reads them from `root`; the others have fixed classes."""
    return _DATASETS.get(name).labels(None if root is None else Path(root).expanduser())


def mask_decoder(name: str, root: str | Path | None = None) -> MaskDecoder:
    """How the label files of data set `name` are written. Only 'folder' reads that from `root`."""
    entry = _DATASETS.get(name)
    place = None if root is None else Path(root).expanduser()
    if entry.decoder is not None:
        return entry.decoder(place)
    return IdDecoder({IGNORE: IGNORE, **{value: k for k, value in enumerate(entry.labels(place).ids)}})
