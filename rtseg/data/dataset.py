"""Pairs of image and label file -> Sample. What every data set shares: reading, pairing, values -> classes, errors.

A data set is a function (root, split) that finds the pairs and says how label files are written; it is found by name.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

from rtseg.errors import UserError
from rtseg.registry import Registry, suggest

IGNORE = 255
Array = TypeVar("Array", np.ndarray, torch.Tensor)
_UNKNOWN = 254  # what a label table holds for values that mean nothing; classes end before it
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")


class Sample(NamedTuple, Generic[Array]):
    """One picture and its labels.

    Sample[np.ndarray] from a data set: image HWC uint8 RGB, mask HW uint8 (0..K-1, 255 = ignore). Sample[torch.Tensor]
    from a transform: image 3HW uint8, mask HW int64. `size` is the (height, width) of the picture on disk.
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
        if not 1 <= len(self.names) <= _UNKNOWN:
            raise UserError(f"a data set has 1 to {_UNKNOWN} classes, not {len(self.names)}; merge or ignore some")
        if not len(self.names) == len(self.palette) == len(self.ids):
            counts = f"{len(self.names)} names, {len(self.palette)} colours, {len(self.ids)} ids"
            raise UserError(f"each class needs one name, one colour and one id; got {counts}")


class MaskDecoder(Protocol):
    """Turns the content of a label file into classes."""

    def __call__(self, raw: np.ndarray, path: Path) -> np.ndarray:
        """raw HW or HWC (RGB or RGBA), as stored -> HW uint8, 0..K-1 or 255."""
        ...


class IdDecoder:
    """Label files that hold one number per pixel.

    Args:
        classes: file value -> class 0..K-1, or 255 for ignore. Values up to 65535, so 16-bit files work too.
    """

    def __init__(self, classes: Mapping[int, int]) -> None:
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
            raise UserError(
                f"{path}: label {tally(values, counts)} outside the classes. Allowed: {_ranges(self.allowed)}. "
                "Repair the file, or map the value to a class or to ignore (data set 'folder': `label_map`, `ignore`)"
            )
        return mask


class SegmentationDataset(Dataset[Sample[np.ndarray]]):
    """Image and label files, read one pair at a time.

    Args:
        pairs: (image file, label file).
        labels: the classes.
        split: which part this is, e.g. "train".
        decode: how the label files are written.

    Raises (from indexing):
        UserError: a file that cannot be read whole, a label value outside the classes, a mask of another size.
    """

    def __init__(self, pairs: Sequence[tuple[Path, Path]], labels: LabelSpace, split: str, decode: MaskDecoder) -> None:
        self.pairs = list(pairs)
        self.labels = labels
        self.split = split
        self.decode = decode

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Sample[np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample[np.ndarray]:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        mask = self.decode(read_mask(mask_path), mask_path)
        if mask.shape != image.shape[:2]:
            swapped = mask.shape == image.shape[1::-1]
            raise UserError(
                f"{mask_path} has (height, width) {mask.shape}, but its image {image_path} has {image.shape[:2]}. "
                + "The sides are swapped: the image may be rotated by its EXIF tag. " * swapped
                + "Label the image at its own size, or resize the mask (nearest neighbour)"
            )
        return Sample(image, mask, image_path.stem, image.shape[:2])


def read_image(path: Path) -> np.ndarray:
    """An image file -> HWC uint8 RGB, turned upright by its EXIF tag. UserError where it cannot be read whole."""
    image = cv2.imdecode(_read_whole(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError(f"{path}: not a readable image ({path.stat().st_size} bytes); replace or remove it")
    return image


def read_mask(path: Path) -> np.ndarray:
    """A label file as stored: HW of class numbers (palette PNGs give the index, 16 bit stays), or HWC RGB / RGBA."""
    data = _read_whole(path)
    if _is_palette_png(data):
        with Image.open(path) as file:
            return np.asarray(file)
    raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype not in (np.uint8, np.uint16):
        found = f"{path.stat().st_size} bytes" if raw is None else f"{raw.dtype} pixels"
        raise UserError(f"{path}: not a readable label image ({found}); expected a PNG of 8 or 16 bit class numbers")
    if raw.ndim == 3:
        raw = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return raw


def _is_palette_png(data: np.ndarray) -> bool:
    """OpenCV expands palettes to colours and loses the class number, so these files go another way."""
    return data[:4].tobytes() == b"\x89PNG" and len(data) > 25 and data[25] == 3


def _read_whole(path: Path) -> np.ndarray:
    """The bytes of a file; a JPEG or PNG that breaks off is refused, where OpenCV would fill the rest and go on."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    jpeg_cut = data.startswith(b"\xff\xd8") and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    png_cut = data.startswith(b"\x89PNG") and data.rfind(b"IEND") < 0
    if not data or jpeg_cut or png_cut:
        what = "truncated" if data else "empty"
        raise UserError(f"{path}: {what} file ({len(data)} bytes); copy or download it again")
    return np.frombuffer(data, np.uint8)


def find_files(folder: Path, suffixes: Iterable[str], pattern: str = "*") -> list[Path]:
    """The files of `folder` that match the glob pattern and a suffix (any case), sorted, hidden ones left out."""
    wanted = tuple(suffixes)
    found = (path for path in folder.glob(pattern) if path.suffix.lower() in wanted and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def require_files(name: str, root: Path, found: Mapping[str, Sequence[Path]]) -> None:
    """Raises UserError where a data folder is missing, empty or laid out otherwise: what was looked for, what is there.

    Args:
        name: of the data set.
        root: the folder the user gave.
        found: for each pattern below `root`, what it found; none may be empty.
    """
    for pattern, files in found.items():
        if not files:
            folder = (root / pattern.partition("*")[0].rpartition("/")[0]).absolute()
            there = next(parent for parent in (folder, *folder.parents) if parent.exists())
            what = f"in {there} there is: {_listing(there)}" if there.is_dir() else f"{there} is a file"
            raise UserError(
                f"no {name} data in {root}: looked for {root / pattern}, but {what}. Give the folder that holds "
                f"{' and '.join(found)} (docs/data.md; label files end in .png, .bmp or .tif, never .jpg)"
            )


def pair_files(
    images: Sequence[Path],
    masks: Sequence[Path],
    wanted: str,
    key: Callable[[Path], str] = lambda path: path.stem,
    mask_key: Callable[[Path], str] | None = None,
) -> list[tuple[Path, Path]]:
    """Each image with the mask of the same key. Masks without image are left out: a subset of images is a good set.

    Args:
        wanted: where masks were looked for, for the error message.
        key: what image and mask share; by default the file name without its ending.
        mask_key: the same of a mask, where it is found otherwise.

    Raises:
        UserError: an image without mask, or two files with one key.
    """
    by_key = _by_key(masks, mask_key or key)
    without = [path for name, path in _by_key(images, key).items() if name not in by_key]
    if without:
        raise UserError(
            f"{without[0]} has no mask ({len(without)} of {len(images)} images have none); looked for {wanted}. "
            "Add the masks or remove the images"
        )
    return [(image, by_key[key(image)]) for image in images]


def _by_key(files: Sequence[Path], key: Callable[[Path], str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files:
        if found.setdefault(key(path), path) is not path:
            raise UserError(f"{found[key(path)]} and {path} both stand for '{key(path)}'; remove one")
    return found


def _listing(folder: Path, most: int = 8) -> str:
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + more or "nothing"


def tally(values: Sequence[object] | np.ndarray, counts: np.ndarray, most: int = 5) -> str:
    """'7 (12 pixels), 9 (1 pixel)', the commonest first."""
    order = np.argsort(-counts, kind="stable")
    parts = [f"{values[i]} ({counts[i]} pixel{'s' if counts[i] != 1 else ''})" for i in order[:most]]
    return ", ".join(parts) + (f" and {len(values) - most} more values" if len(values) > most else "")


def _ranges(values: Sequence[int]) -> str:
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
    if split not in splits:
        raise UserError(f"data set '{name}' has no split '{split}'.{suggest(split, splits)}")


Builder = Callable[[Path, str], SegmentationDataset]
LabelsOf = Callable[[Path | None], LabelSpace]


@dataclass(frozen=True)
class _Entry:
    build: Builder
    labels: LabelsOf


_registry: Registry[_Entry] = Registry("data set")
_BUILTIN = ("ade20k", "camvid", "cityscapes", "folder")


def register_dataset(name: str, labels: LabelSpace | LabelsOf) -> Callable[[Builder], Builder]:
    """Decorator: files a function (root, split) -> SegmentationDataset under `name`.

    Args:
        labels: the classes, or a function root -> classes where they depend on the files.
    """

    def decorate(build: Builder) -> Builder:
        _registry.register(name)(_Entry(build, (lambda root: labels) if isinstance(labels, LabelSpace) else labels))
        return build

    return decorate


def _entry(name: str) -> _Entry:
    _load_builtin()
    return _registry.get(name)


def _load_builtin() -> None:
    for module in _BUILTIN:
        importlib.import_module(f"rtseg.data.{module}")


def create_dataset(name: str, root: str | Path, split: str) -> SegmentationDataset:
    """The `split` of data set `name` under `root`.

    Raises:
        UnknownNameError: no such data set.
        UserError: no such split, or files missing or laid out otherwise than docs/data.md says.
    """
    dataset = _entry(name).build(Path(root).expanduser(), split)
    assert len(dataset), "a builder raises rather than returning nothing"
    return dataset


def list_datasets() -> list[str]:
    """All names that create_dataset takes, sorted."""
    _load_builtin()
    return _registry.names()


def label_space(name: str, root: str | Path | None = None) -> LabelSpace:
    """The classes of data set `name`. Only 'folder' reads them from `root`; the others have fixed classes."""
    return _entry(name).labels(None if root is None else Path(root).expanduser())
