"""The YAML of a folder that has none, found from what lies there.

Folders that hold images are told from folders that hold masks by a few files of each: a mask is drawn, so most pixels
equal their right neighbour, and few values occur. Then each folder of masks gets the folder of images with which it
shares most names.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rtseg.data.dataset import IGNORE, MOST_CLASSES
from rtseg.data.files import IMAGE_SUFFIXES, MASK_SUFFIXES, read_mask
from rtseg.data.findings.mask_look import look_at_numbers
from rtseg.data.labels.source import split_of
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.terminal import counted

_LOOKED_AT = 3  # files of a folder, to tell images from masks
_VALUES_FROM = 100  # masks, to find the classes
_DRAWN = 0.8  # share of pixels that equal their right neighbour
_FEW_VALUES = 255
_NAME_FILES = ("classes.txt", "class_names.txt", "labels.txt", "classnames.txt", "names.txt")


@dataclass(frozen=True)
class Proposal:
    """A YAML that is not written yet.

    Attributes:
        content: of the YAML.
        reasons: a sentence for each thing that was guessed.
    """

    content: dict[str, Any]
    reasons: list[str]


class _Group(NamedTuple):
    """Files of one folder whose names end alike: `masks`, `_mask`."""

    folder: Path
    ending: str  # behind what image and mask share, with the suffix where other files have the same ending
    files: Mapping[str, Path]  # by what is shared


def propose(root: Path) -> Proposal:
    """Finds images, masks, splits and classes below a folder.

    Raises:
        UserError: there are no images, or no masks that belong to them.
    """
    files = find_files(root, {*IMAGE_SUFFIXES, *MASK_SUFFIXES}, "**/*")
    if not files:
        raise UserError(
            f"no images in '{root}' and no {root / 'dataset.yaml'}: give the folder of images and masks, a YAML "
            "(docs/data.md), or --dataset with the name of a data set (rtseg list datasets)"
        )
    masks, images = _parted(files)
    if not (masks and images):
        held, other = ("masks", "images") if masks else ("images", "masks")
        raise UserError(
            f"'{root}' holds {counted(len(files), 'file')}, which look like {held}, and no {other}: if these lie "
            f"beside it, give the folder above ('{os.path.normpath(root / '..')}'); masks of JPEG, or resized "
            "smoothly, look like images too: make them anew as PNG"
        )
    pairs = _pairs(images, masks)
    if not pairs:
        found = f"{counted(len(images), 'group')} of images and {len(masks)} of masks by their content"
        raise UserError(
            f"'{root}' holds {len(files):,} images, and no masks that share their names ({found}; masks of JPEG, or "
            "resized smoothly, look like images: make them anew as PNG). Or write "
            f"{root / 'dataset.yaml'} (docs/data.md), or give --dataset with the name of a data set"
        )
    by_split: dict[str, list[tuple[_Group, _Group]]] = defaultdict(list)
    for image, mask in pairs:
        by_split[_split(image.folder.relative_to(root))].append((image, mask))
    splits = {name: _patterns(root, some) for name, some in by_split.items()}
    if "train" not in splits:
        splits = {"train": splits.pop(next(iter(splits))), **splits}
    reasons = [
        f"images for {name} are {splits[name]['images']}, their masks {splits[name]['masks']}" for name in splits
    ]
    classes, more = _classes(root, [path for _, mask in pairs for path in mask.files.values()])
    return Proposal({**classes, **{name: splits[name] for name in ("train", "val", "test") if name in splits}},
                    [*reasons, *more])  # fmt: skip


def _parted(files: Sequence[Path]) -> tuple[list[_Group], list[_Group]]:
    """Groups of masks, and of images."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        folders[path.parent].append(path)
    masks: list[_Group] = []
    images: list[_Group] = []
    for folder, members in folders.items():
        for ending, some in _by_ending(members).items():
            paths = list(some.values())
            chosen = [paths[k] for k in sorted({0, len(paths) // 2, len(paths) - 1})][:_LOOKED_AT]
            (masks if all(map(_is_drawn, chosen)) else images).append(_Group(folder, ending, some))
    return masks, images


def _by_ending(files: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Files of one folder by what their names end in: `_mask.png`, `.jpg`; within, by what is before."""
    words = Counter(_word(path) for path in files)
    common = {word for word, number in words.items() if word and number > 1 and number * 4 >= len(files)}
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in files:
        word = _word(path) if _word(path) in common else ""
        groups[word + path.suffix.lower()][path.stem.removesuffix(word)] = path
    return groups


def _word(path: Path) -> str:
    """The last word of a name, with what parts it from the others: `_mask`; none where it has a figure."""
    match = re.fullmatch(r".+?([_\-. ][A-Za-z]+)", path.stem)
    return match[1] if match else ""


def _is_drawn(path: Path) -> bool:
    """Whether a file looks like a mask."""
    if path.suffix.lower() not in MASK_SUFFIXES:
        return False
    try:
        raw = read_mask(path)
    except UserError:
        return False
    look = look_at_numbers(raw)
    same = raw[:, 1:] == raw[:, :-1]
    share = float(np.mean(same if raw.ndim == 2 else same.all(2))) if same.size else 1.0
    return look.distinct <= _FEW_VALUES and share >= _DRAWN


def _pairs(images: Sequence[_Group], masks: Sequence[_Group]) -> list[tuple[_Group, _Group]]:
    """Each group of images with the group of masks that has most of its names, the nearest folder first."""
    found = []
    for image in images:
        shared = {k: len(image.files.keys() & mask.files.keys()) for k, mask in enumerate(masks)}
        best = max(shared, key=lambda k: (shared[k], *_rank(image.folder, masks[k].folder)), default=None)
        if best is not None and 2 * shared[best] >= len(image.files):
            found.append((image, masks[best]))
    return found


def _rank(images: Path, masks: Path) -> tuple[bool, int]:
    """Numbers of instances are no classes; then parts of the paths that are equal: train/images is near train/masks."""
    return "inst" not in masks.name.lower(), len(set(images.parts) & set(masks.parts))


def _split(folder: Path) -> str:
    """The split that a folder's names say."""
    words = [word for part in folder.parts for word in re.split(r"[^a-z]+", part.lower())]
    return next(filter(None, map(split_of, reversed(words))), "train")


def _patterns(root: Path, pairs: Sequence[tuple[_Group, _Group]]) -> dict[str, str]:
    """What a split of the YAML says: folders where names are equal, else patterns.

    Of several folders those below the common ones, where image and mask lie in sub-folders of equal names; else the
    largest.
    """
    folders = [Path(os.path.commonpath([pair[k].folder for pair in pairs])) for k in (0, 1)]
    largest = max(pairs, key=lambda pair: len(pair[0].files))
    below = [[pair[k].folder.relative_to(folders[k]) for pair in pairs] for k in (0, 1)]
    alike = {tuple(group.ending for group in pair) for pair in pairs} == {tuple(group.ending for group in largest)}
    several = len(pairs) > 1 and below[0] == below[1] and alike
    if not several:
        folders = [group.folder for group in largest]
    names = [folder.relative_to(root).as_posix() for folder in folders]
    endings = [group.ending for group in largest]
    if names[0] != names[1] and all(ending.startswith(".") for ending in endings):
        return dict(zip(("images", "masks"), names, strict=True))
    stars = "**/*" if several else "*"
    texts = [f"{name}/{stars}{ending}".removeprefix("./") for name, ending in zip(names, endings, strict=True)]
    return dict(zip(("images", "masks"), texts, strict=True))


def _classes(root: Path, masks: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """`classes` and what says how they are written, and why."""
    some = [masks[int(k)] for k in np.linspace(0, len(masks) - 1, min(len(masks), _VALUES_FROM))]
    pixels: Counter[int] = Counter()
    coloured = 0
    for path in some:
        try:
            look = look_at_numbers(read_mask(path))
        except UserError:
            continue
        coloured += look.form == "colours"
        pixels.update(look.values)
    if 2 * coloured > len(some):
        return _colours(pixels, len(some))
    return _numbers(root, sorted(pixels), len(some))


def _colours(pixels: Mapping[int, int], looked: int) -> tuple[dict[str, Any], list[str]]:
    codes = sorted(pixels, key=lambda code: -pixels[code])[:MOST_CLASSES]
    names = [f"class_{k}" for k in range(len(codes))]
    colors = {name: f"#{code:06x}" for name, code in zip(names, codes, strict=True)}
    why = f"{len(pixels):,} colours in {looked} masks: name them, and write `ignore` for what is no class"
    return {"classes": names, "colors": colors}, [why]


def _numbers(root: Path, values: Sequence[int], looked: int) -> tuple[dict[str, Any], list[str]]:
    listed = ", ".join(map(str, values[:12])) + ", ..." * (len(values) > 12)
    why = [f"{looked} masks hold the numbers {listed}"]
    if list(values) == [0, IGNORE]:
        content = {"classes": ["background", "object"], "label_map": {0: "background", IGNORE: "object"}}
        return content, [*why, "0 and 255 are taken for two classes; where 255 is no class, take `label_map` out"]
    own = [value for value in values if value != IGNORE] or [0]
    names = _names(root, max(own) + 1)
    if names is not None:
        return {"classes": names[0]}, [*why, f"the names are those of {names[1]}"]
    kept = own[:MOST_CLASSES]
    if max(own) < MOST_CLASSES and (len(own) > 0.5 * (max(own) + 1) or max(own) < 32):
        kept = list(range(min(own), max(own) + 1))
    if kept[0] == 0 and kept[-1] == len(kept) - 1:
        return {"classes": [f"class_{k}" for k in kept]}, why
    label_map = {value: f"class_{value}" for value in kept}
    return {"classes": list(label_map.values()), "label_map": label_map}, why


def _names(root: Path, least: int) -> tuple[list[str], Path] | None:
    """The names in a text file beside the images, a line each, where there are enough of them."""
    for file in (root / name for name in _NAME_FILES):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        names = [re.sub(r"^\d+[\s:.]+", "", line).strip() for line in lines if line.strip()]
        names = [name for name in names if name not in ("_ignore_", "__ignore__", "ignore")]
        names = [name.strip("_") if name == "_background_" else name for name in names]
        if least <= len(names) <= MOST_CLASSES and len(set(names)) == len(names):
            return names, file
    return None
