"""A user's own images and masks, described by a short YAML file (docs/data.md); masks hold class numbers or colours.

Image and mask belong together when they have the same name below their folders, or when the stars of the two patterns
stand for the same text: `images/*_image.jpg` with `masks/*_label.png`.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from rtseg.data.dataset import (
    IGNORE,
    MOST_CLASSES,
    IdDecoder,
    LabelSpace,
    MaskDecoder,
    SegmentationDataset,
    check_split,
    default_palette,
    register_dataset,
)
from rtseg.data.files import MASK_SUFFIXES, pair_files, require_files
from rtseg.data.image_space import ImageSpace, image_suffixes
from rtseg.data.walk import find_files
from rtseg.errors import UserError
from rtseg.registry import suggest
from rtseg.terminal import counted
from rtseg.yaml_file import LISTS, read_yaml

_SPLITS = ("train", "val", "test")
_KEYS = (*_SPLITS, "classes", "palette", "label_map", "ignore", "colors", "channels", "mean", "std", "shown")
_NAMED_COLORS = 5  # in a message
_NO_VALIDATION = ", or train without validation: --trainer.limit_val_batches=0"
_MOST_STARS = 8  # each more multiplies the ways in which a name may match
Color = tuple[int, int, int]


class ColorDecoder:
    """Label files that hold one colour per class, RGB or RGBA (alpha is not looked at).

    Args:
        classes: RGB colour -> class 0..K-1, or 255 for ignore.
        names: of the classes, for messages.

    Attributes:
        meanings: colour as 0xrrggbb -> class, or 255.
    """

    def __init__(self, classes: Mapping[Color, int], names: Sequence[str]) -> None:
        self.meanings = codes = {int(color_codes(np.array(color))): label for color, label in classes.items()}
        self.codes = np.array(sorted(codes))
        self.classes = np.array([codes[code] for code in self.codes], np.uint8)
        self.names = names

    def __call__(self, raw: np.ndarray, path: Path) -> np.ndarray:
        if raw.ndim == 2 or raw.dtype != np.uint8:
            raise UserError(
                f"{path}: {raw.dtype} pixels of shape {raw.shape} where 8-bit RGB is expected. It holds class numbers: "
                "remove `colors` from the YAML, and give a `label_map` where the numbers are not 0, 1, 2, ..."
            )
        code = color_codes(raw)
        at = np.searchsorted(self.codes, code).clip(max=len(self.codes) - 1)
        unknown = self.codes[at] != code
        if unknown.any():
            raise UserError(f"{path}: {self._unknown(code[unknown], code.size)}")
        return self.classes[at]

    def _unknown(self, codes: np.ndarray, pixels: int) -> str:
        """What is said of colours that stand for no class: the commonest, and which class each is nearest to."""
        values, counts = np.unique(codes, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_NAMED_COLORS]
        parts = [
            f"#{values[i]:06x} ({pixel_share(counts[i], pixels)}, nearest: {self._nearest(values[i])})" for i in order
        ]
        more = f" and {len(values) - len(order)} more colours" if len(values) > len(order) else ""
        share = pixel_share(len(codes), pixels)
        return (
            f"{share} of the pixels have a colour that stands for no class: {', '.join(parts)}{more}. "
            "Correct the colour in `colors`, add it (under `ignore` where it is no class), or repair the mask; many "
            "blended colours come from smoothing or JPEG"
        )

    def _nearest(self, code: int) -> str:
        distances = [np.abs(_levels(code) - _levels(known)).sum() for known in self.codes]
        best = int(np.argmin(distances))
        label = int(self.classes[best])
        return f"{'ignore' if label == IGNORE else self.names[label]} #{self.codes[best]:06x}"


def pixel_share(part: int, whole: int) -> str:
    """'12.3 %'; of a small share how many pixels it is."""
    percent = 100 * part / whole
    return f"{percent:.1f} %" if percent >= 0.1 else f"{part:,} pixel{'s' * (part != 1)}"


def _levels(code: int) -> np.ndarray:
    """Red, green and blue."""
    return np.array([code >> 16 & 255, code >> 8 & 255, code & 255])


def color_codes(rgb: np.ndarray) -> np.ndarray:
    """Colours along the last axis -> one integer each."""
    return rgb[..., 0].astype(np.int32) << 16 | rgb[..., 1].astype(np.int32) << 8 | rgb[..., 2]


@dataclass(frozen=True)
class _Spec:
    file: Path
    splits: dict[str, tuple[str, str]]
    labels: LabelSpace
    decode: MaskDecoder
    images: ImageSpace


@register_dataset(
    "folder",
    lambda root: _read_spec(root).labels,
    lambda root: _read_spec(root).decode,
    images=lambda root: _read_spec(root).images,
)
def folder(root: Path, split: str, channels: int | None = None) -> SegmentationDataset:
    """The `split` (train, val, test) of a YAML; `root` is that file or the folder that holds dataset.yaml.

    Args:
        channels: of the images; with a number, `.npy` files are images too.
    """
    return _open(_read_spec(root), split, channels)


def described_folder(file: Path, content: Any, split: str, channels: int | None = None) -> SegmentationDataset:
    """The `split` of a YAML that need not be written yet.

    Args:
        file: paths are relative to its folder.
        content: what the YAML would say.
        channels: as `folder` takes it.
    """
    return _open(_parse(file, content), split, channels)


def described_splits(root: Path) -> list[str]:
    """The splits that a YAML names. Raises: UserError, see `folder`."""
    return list(_read_spec(root).splits)


def _open(spec: _Spec, split: str, channels: int | None) -> SegmentationDataset:
    check_split(f"folder ({spec.file})", split, _SPLITS)
    if split not in spec.splits:
        needs = f"{spec.file} has no `{split}` images: add `{split}: {{images: <folder>, masks: <folder>}}`"
        raise UserError(f"{needs}{_NO_VALIDATION if split == 'val' else ''}")
    base = spec.file.parent
    image_pattern, mask_pattern = spec.splits[split]
    suffixes = image_suffixes(channels)
    masks = _match(base, mask_pattern, MASK_SUFFIXES)
    # A file of both patterns is a mask: `*.png` also stands for `1_mask.png`.
    images = {path: text for path, text in _match(base, image_pattern, suffixes).items() if path not in masks}
    require_files("folder", base, {image_pattern: list(images), mask_pattern: list(masks)})
    wanted = f"{base / mask_pattern}, where the stars stand for the same text as in {image_pattern}"
    pairs = pair_files(list(images), list(masks), wanted, images.__getitem__, masks.__getitem__)
    return SegmentationDataset(pairs, spec.labels, split, spec.decode)


def _match(base: Path, pattern: str, suffixes: Iterable[str]) -> dict[Path, str]:
    """The files of a pattern, each with the text its stars stand for; the ending (.png, .*, none) is no part of it."""
    fixed, _, rest = pattern.partition("*")
    start, _, head = fixed.rpartition("/")
    folder = base / Path(start).expanduser()
    glob = f"{head}*{rest}"
    ending = PurePosixPath(glob).suffix
    stars = re.escape(glob.removesuffix(ending)).replace(r"\*\*/", "(?:(.*)/)?").replace(r"\*", "([^/]*)")
    found = {}
    for path in find_files(folder, suffixes if ending in ("", ".*") else {ending.lower()} & set(suffixes), "**/*"):
        if match := re.fullmatch(stars, path.relative_to(folder).with_suffix("").as_posix()):
            found[path] = "/".join(text for text in match.groups() if text)
    return found


def _read_spec(root: Path | None) -> _Spec:
    if root is None:
        raise UserError(
            "data set 'folder' is described by a YAML file; give it, or the folder of dataset.yaml, as root"
        )
    file = root if root.suffix in (".yaml", ".yml") else root / "dataset.yaml"
    if not os.path.isfile(file):
        raise UserError(f"{file}: No such file; it should describe the data set (docs/data.md)")
    content = read_yaml(file, LISTS)
    try:
        return _parse(file, content)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _parse(file: Path, content: Any) -> _Spec:
    if not isinstance(content, dict):
        what = "is empty" if content is None else f"holds {type(content).__name__}"
        raise UserError(f"{what}, not keys and values such as `classes` and `train` (docs/data.md)")
    for key in content:
        if key not in _KEYS:
            raise UserError(f"unknown key '{key}'.{suggest(key, _KEYS)}")
    names = content.get("classes")
    if isinstance(names, list | dict) and len(names) > MOST_CLASSES:
        raise UserError(f"`classes` are at most {MOST_CLASSES}, not {len(names):,}; merge or ignore some")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"`classes` is a list of names, e.g. [road, car], not {names!r}; put yes, no, on and numbers in quotes"
        )
    if len(set(names)) < len(names) or "ignore" in names:
        raise UserError(f"`classes` are different names, none of them 'ignore' (which means: no class); got {names}")
    splits = {split: _split(split, content[split]) for split in _SPLITS if split in content}
    if not splits:
        raise UserError("no split; give `train: {images: ..., masks: ...}` and `val: {images: ..., masks: ...}`")
    if "colors" in content:
        if {"label_map", "ignore"} & content.keys():
            raise UserError("`colors` says what is which class and what is ignored; remove `label_map` and `ignore`")
        decode, ids, colors = _color_masks(content["colors"], names)
    else:
        decode, ids = _id_masks(content, names)
        colors = {}
    palette = _palette(content.get("palette"), names, colors)
    images = ImageSpace(**{key: content.get(key) for key in ("channels", "mean", "std", "shown")})
    return _Spec(file, splits, LabelSpace(tuple(names), palette, ids), decode, images)


def _split(split: str, value: Any) -> tuple[str, str]:
    """The patterns of images and masks; a folder becomes the pattern of everything below it."""
    if not isinstance(value, dict) or value.keys() != {"images", "masks"}:
        raise UserError(f"`{split}` is {{images: <folder or pattern>, masks: <folder or pattern>}}, not {value!r}")
    patterns = [value["images"], value["masks"]]
    if not all(isinstance(pattern, str) and pattern for pattern in patterns):
        raise UserError(
            f"`{split}` holds {patterns}; images and masks are one folder or pattern each, e.g. images/*.jpg"
        )
    if any(pattern.count("*") > _MOST_STARS for pattern in patterns):
        raise UserError(f"`{split}` holds {patterns}; a pattern has at most {_MOST_STARS} stars")
    images, masks = (re.sub(r"\*\*$", "**/*", text) if "*" in text else f"{text.rstrip('/')}/**/*" for text in patterns)
    return images, masks


def _id_masks(content: dict[str, Any], names: list[str]) -> tuple[MaskDecoder, tuple[int, ...]]:
    """Masks of class numbers: the decoder, and the number each class is written with (the first one of the map)."""
    label_map = content.get("label_map", dict(enumerate(names)))
    if not isinstance(label_map, dict):
        raise UserError(f"`label_map` is {{value: class}}, e.g. {{7: road, 8: road, 0: ignore}}, not {label_map!r}")
    classes = {_value(value, "label_map"): _class(name, names, "label_map") for value, name in label_map.items()}
    _complete("label_map", names, classes.values())
    ignore = content.get("ignore", [] if IGNORE in classes else [IGNORE])
    for value in ignore if isinstance(ignore, list) else [ignore]:
        label = classes.setdefault(_value(value, "ignore"), IGNORE)
        if label != IGNORE:
            raise UserError(
                f"value {value} is class '{names[label]}' and in `ignore`; "
                "say which number is which class with `label_map: {number: class}`"
            )
    labels = list(classes.values())
    return IdDecoder(classes), tuple(list(classes)[labels.index(k)] for k in range(len(names)))


def _color_masks(value: Any, names: list[str]) -> tuple[MaskDecoder, tuple[int, ...], dict[str, Color]]:
    if not isinstance(value, dict):
        raise UserError(f"`colors` is {{class: [r, g, b]}} or {{class: '#rrggbb'}}, not {value!r}")
    colors = {name: _color(color, f"`colors` of '{name}'") for name, color in value.items()}
    classes: dict[Color, int] = {}
    for name, color in colors.items():
        if classes.setdefault(color, _class(name, names, "colors")) != _class(name, names, "colors"):
            raise UserError(f"`colors` gives {list(color)} to '{name}' and to another class; each needs its own colour")
    _complete("colors", names, classes.values())
    return ColorDecoder(classes, names), tuple(range(len(names))), colors


def _palette(value: Any, names: list[str], colors: dict[str, Color]) -> tuple[Color, ...]:
    """The colours of drawings: `palette`, a list or by class; else those of the masks; else well spread hues."""
    if value is None:
        return tuple(map(colors.get, names, default_palette(len(names))))
    if isinstance(value, dict):
        _complete("palette", names, [_class(name, names, "palette") for name in value])
        value = [value[name] for name in names]
    if isinstance(value, list) and len(value) != len(names):
        raise UserError(
            f"`palette` gives one colour to each class, but there are {counted(len(names), 'class', 'es')}, "
            f"{counted(len(value), 'colour')}; add or remove some, or leave `palette` out"
        )
    if not isinstance(value, list):
        raise UserError(
            f"`palette` is a list of {len(names)} colours or {{class: colour}} for all classes, not {value!r}"
        )
    return tuple(_color(color, "`palette`") for color in value)


def _class(name: Any, names: list[str], where: str) -> int:
    if name == "ignore":
        return IGNORE
    if name not in names:
        raise UserError(f"`{where}` names {name!r}, which is not in `classes`.{suggest(name, [*names, 'ignore'])}")
    return names.index(name)


def _complete(where: str, names: list[str], labels: Iterable[int]) -> None:
    missing = [name for k, name in enumerate(names) if k not in set(labels)]
    if missing:
        raise UserError(f"`{where}` leaves out {', '.join(missing)}; name every class, or remove it from `classes`")


def _value(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise UserError(f"`{where}` holds {value!r}; pixel values are whole numbers from 0 to 65535")
    return value


def _color(value: Any, where: str) -> Color:
    if isinstance(value, str) and re.fullmatch("#[0-9a-fA-F]{6}", value):
        value = list(bytes.fromhex(value[1:]))
    good = isinstance(value, list) and len(value) == 3 and all(type(part) is int and 0 <= part <= 255 for part in value)
    if not good:
        raise UserError(f"{where} holds {value!r}; a colour is [r, g, b] from 0 to 255 or '#rrggbb' in quotes")
    r, g, b = value
    return r, g, b
