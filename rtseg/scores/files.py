"""Two folders of files, class maps and label masks, to scores: `rtseg score`."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from rich.progress import track

from rtseg.checks import check_between
from rtseg.data.dataset import (
    IGNORE,
    MOST_CLASSES,
    IdDecoder,
    LabelSpace,
    MaskDecoder,
    default_palette,
    label_space,
    list_datasets,
    mask_decoder,
    tally,
)
from rtseg.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, read_mask
from rtseg.data.walk import find_files
from rtseg.deploy.folder.predict_files import stage_threads
from rtseg.deploy.folder.result_names import LEGEND, RECORD, margin_file, result_files
from rtseg.errors import UserError
from rtseg.scores.boundary import boundary_counts
from rtseg.scores.scores import ImageCounts, Scores
from rtseg.terminal import Console, counted

_NO_CLASS = 254  # what the table of predictions holds for other values; classes end before it
# Cityscapes calls an image, its label file and its other files by one name with different ends.
_CITYSCAPES = re.compile(r"_leftImg8bit$|_gtFine_label(Train)?Ids$")
_NO_LABELS = re.compile(r"_gtFine_(color|instanceIds|instanceTrainIds)$")
_TRAIN_IDS, _IDS = "_gtFine_labelTrainIds", "_gtFine_labelIds"


@dataclass(frozen=True)
class Classes:
    """The classes that are scored, and how the files are written.

    Attributes:
        labels: names and ids; predictions hold the ids.
        decode: reads the masks.
    """

    labels: LabelSpace
    decode: MaskDecoder

    @classmethod
    def numbered(cls, number: int, ignore: Iterable[int] = (IGNORE,)) -> "Classes":
        """Classes 0..K-1 without names, and the values of the masks that do not count.

        Raises:
            UserError: too few or too many, or a value that is a class.
        """
        check_between("--classes", number, 1, MOST_CLASSES, "masks hold 0 to K-1")
        ignored = list(ignore)
        for value in ignored:
            check_between("--ignore", value, 0, 65535, "it is a value of the masks")
            if value < number:
                raise UserError(f"--ignore {value}: this is a class, of 0 to {number - 1}; give fewer --classes")
        names = tuple(f"class {k}" for k in range(number))
        labels = LabelSpace(names, default_palette(number), tuple(range(number)))
        return cls(labels, IdDecoder(dict.fromkeys(ignored, IGNORE) | {k: k for k in range(number)}))

    @classmethod
    def of_data(cls, data: str) -> "Classes":
        """Those of a data set: the YAML file of a folder, or the folder that holds it, or a name.

        Raises:
            UserError: there is no such file or name, or it does not describe a data set.
        """
        path = Path(data).expanduser()
        is_file = path.suffix in (".yaml", ".yml") or (data not in list_datasets() and path.is_dir())
        name, root = ("folder", path) if is_file else (data, None)
        return cls(label_space(name, root), mask_decoder(name, root))


class Pairs(NamedTuple):
    """Which prediction belongs to which mask.

    Attributes:
        pairs: name -> (class map, mask).
        no_prediction, no_mask: files that have no other.
    """

    pairs: dict[str, tuple[Path, Path]]
    no_prediction: list[Path]
    no_mask: list[Path]

    def notes(self) -> list[str]:
        """What was left out, for people."""
        found = []
        for files, what, lack in ((self.no_prediction, "mask", "class map"), (self.no_mask, "class map", "mask")):
            if files:
                found.append(f"not scored: {counted(len(files), what)} without a {lack}, such as {files[0]}")
        return found


def find_pairs(predictions: Path, masks: Path) -> Pairs:
    """Class maps and masks of one name below the two folders; where none is, of one file name.

    The pictures that `rtseg predict` writes beside its class maps are left out, and so are the endings of
    Cityscapes' names.

    Raises:
        UserError: both are one folder; they seem to be swapped; a folder holds nothing of its kind; two files have one
            name; or nothing belongs together.
    """
    if predictions.samefile(masks):
        raise UserError(
            f"'{predictions}' and '{masks}' are one folder, whose files equal themselves: give the folder of class "
            "maps, then the folder of masks"
        )
    if (masks / RECORD).is_file() and not (predictions / RECORD).is_file():
        raise UserError(
            f"'{masks}' is where `rtseg predict` wrote class maps ({RECORD}), and comes second: give the folder of "
            "class maps, then the folder of masks"
        )
    found, labels = _without_pictures(predictions, _files(predictions)), _labels(masks)
    for key in (lambda path, root: path.relative_to(root).with_suffix("").as_posix(), lambda path, root: path.stem):
        by_name, by_mask = (
            _by_name([(_CITYSCAPES.sub("", key(path, root)), path) for path in files])
            for files, root in ((found, predictions), (labels, masks))
        )
        if both := [name for name in by_mask if name in by_name]:
            return Pairs(
                {name: (by_name[name], by_mask[name]) for name in both},
                [path for name, path in by_mask.items() if name not in by_name],
                [path for name, path in by_name.items() if name not in by_mask],
            )
    raise UserError(
        f"no class map has the name of a mask: '{found[0].relative_to(predictions)}' and "
        f"'{labels[0].relative_to(masks)}' are the first of {len(found)} and {len(labels)}. Pairs are called alike but "
        "for the ending, as `rtseg predict` names its results"
    )


def score_files(
    pairs: Pairs, classes: Classes, *, boundary: float | None = None, class_numbers: bool = False
) -> Scores:
    """The scores of class maps against masks, in several threads, with a progress bar.

    Args:
        boundary: width of the boundary IoU, as a share of the diagonal; None leaves it out, since it takes longest.
        class_numbers: class maps hold 0..K-1 in place of the ids.

    Raises:
        UserError: a file cannot be read or is of colours; sizes differ; a value stands for no class.
    """
    number = len(classes.labels.names)
    table = np.full(65536, _NO_CLASS, np.uint8)
    ids = range(number) if class_numbers else classes.labels.ids
    table[list(ids)] = np.arange(number)

    def count(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray | None]:
        pred, mask = _read(pair, classes, table, ids)
        valid = mask != IGNORE
        cells = mask[valid].astype(np.int64) * number + pred[valid]
        confusion = np.bincount(cells, minlength=number**2).reshape(number, number)
        edges = None if boundary is None else boundary_counts(pred, mask, number, width=boundary)
        return confusion, edges

    confusion, edges, images = np.zeros((number, number), np.int64), np.zeros((3, number), np.int64), []
    with ThreadPoolExecutor(2 * stage_threads()) as threads:
        results = threads.map(count, pairs.pairs.values())
        console = Console(stderr=True)
        for own, own_edges in track(results, "score", len(pairs.pairs), console=console, transient=True):
            confusion += own
            images.append(np.stack([own.diagonal(), own.sum(1), own.sum(0)]))
            if own_edges is not None:
                edges += own_edges
    return Scores(
        classes.labels.names,
        torch.from_numpy(confusion),
        ImageCounts(tuple(pairs.pairs), np.stack(images)),
        edges if boundary is not None else None,
        boundary,
    )


def _read(
    pair: tuple[Path, Path], classes: Classes, table: np.ndarray, ids: Iterable[int]
) -> tuple[np.ndarray, np.ndarray]:
    """A class map and its mask as class numbers, (H, W) uint8; where the mask has 255 both hold no class."""
    path, mask_path = pair
    raw, mask = read_mask(path), classes.decode(read_mask(mask_path), mask_path)
    if raw.shape[:2] != mask.shape:
        (height, width), (own_height, own_width) = mask.shape, raw.shape[:2]
        raise UserError(
            f"{path} is {own_height}x{own_width}, its mask {mask_path} is {height}x{width} (height x width): class "
            "maps are scored at the size of the masks; `rtseg predict` writes them at the size of the images"
        )
    pred = classes.decode(raw, path) if raw.ndim == 3 else table[raw]
    wrong = (pred >= _NO_CLASS) & (mask != IGNORE)
    if wrong.any():
        values = [str(value) for value in raw[wrong]] if raw.ndim == 3 else raw[wrong]
        what, counts = np.unique(np.asarray(values), return_counts=True)
        good = list(ids)
        shown = ", ".join(map(str, good[:12])) + ", …" * (len(good) > 12)
        numbers = list(range(len(good)))
        hint = f"; for class numbers 0 to {numbers[-1]} give --class-numbers" if good != numbers else ""
        raise UserError(
            f"{path}: {tally(what, counts)} where the mask has a class. Class maps hold the ids of the classes "
            f"({shown}){hint}"
        )
    return pred, mask


def _files(folder: Path) -> list[Path]:
    found = find_files(folder, MASK_SUFFIXES, "**/*")
    if not found:
        others = [path.name for path in find_files(folder, IMAGE_SUFFIXES, "**/*")]
        lossy = f"; '{others[0]}' there is of a kind that may change class numbers, as JPEG does" if others else ""
        raise UserError(
            f"no class maps in '{folder}': looked for {', '.join(MASK_SUFFIXES)} there and below{lossy}. Give the "
            "folder of class maps, then the folder of masks"
        )
    return found


def _labels(folder: Path) -> list[Path]:
    """Masks; of Cityscapes' files of one image the label ids, beside which its tools write those of the training."""
    found = [path for path in _files(folder) if not _NO_LABELS.search(path.stem)]
    there = set(found)
    return [
        path for path in found
        if _TRAIN_IDS not in path.name or path.with_name(path.name.replace(_TRAIN_IDS, _IDS)) not in there
    ]  # fmt: skip


def _without_pictures(folder: Path, files: list[Path]) -> list[Path]:
    """Without what `rtseg predict` writes for people."""
    there = set(files)
    pictures = {folder / LEGEND} if (folder / RECORD).is_file() else set()
    for path in files:
        name = path.with_suffix("").relative_to(folder).as_posix()
        pictures |= {folder / file for file in (*result_files(name)[1:], margin_file(name))}
    return [path for path in files if path not in pictures] if pictures & there else files


def _by_name(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in files:
        if found.setdefault(name, path) is not path:
            raise UserError(f"{found[name]} and {path} both stand for '{name}'; remove one")
    return found
