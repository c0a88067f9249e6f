"""Images found by the names that label files say, and masks of numbers or colours read as their tool meant them."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from rtseg.data.files import MASK_SUFFIXES, read_mask
from rtseg.data.labels.source import ANY_IMAGE, BrokenLabelsError, Color, Drawn, Labelled, Size
from rtseg.data.walk import find_files
from rtseg.errors import UserError

Decode = Callable[[Path], np.ndarray]
"""A mask file -> (H, W) uint8: class, UNLABELLED or IGNORE. Raises: BrokenLabelsError."""


class ImageFinder:
    """The images below some folders, by name without ending.

    Args:
        folders: those that are not there hold none; earlier ones come first.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._by_name: dict[str, Path] = {}
        self._by_last: dict[str, list[Path]] = {}
        for folder in folders:
            for path in find_files(folder, ANY_IMAGE, "**/*"):
                name = _normal(path.relative_to(folder).with_suffix("").as_posix())
                self._by_name.setdefault(name, path)
                self._by_last.setdefault(name.rpartition("/")[2], []).append(path)

    def find(self, name: str) -> Path | None:
        """The image called so below a folder; or the only one whose last part is."""
        if found := self._by_name.get(_normal(name)):
            return found
        others = self._by_last.get(_normal(name).rpartition("/")[2], [])
        return others[0] if len(set(others)) == 1 else None

    def __bool__(self) -> bool:
        return bool(self._by_name)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def masks_below(folder: Path) -> dict[str, Path]:
    """Name without ending, below the folder -> mask."""
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path for path in find_files(folder, MASK_SUFFIXES, "**/*")
    }


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty.

    Raises:
        UserError: it cannot be read as text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"'{file}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"'{file}' is not UTF-8 text (byte {error.start}): save it as UTF-8") from None
    return [line.strip() for line in lines if line.strip()]


def read_names(file: Path) -> list[str]:
    """The names in a list of images, one a line, without quotes. Raises: UserError, see `read_lines`."""
    return [name for line in read_lines(file) if (name := line.strip('"').strip())]


def labelled_by_mask(name: str, image: Path, mask: Path, decode: Decode, split: str | None) -> Labelled:
    """An image with a mask file."""
    return Labelled(name, image, partial(_draw, mask, decode), split)


def _draw(mask: Path, decode: Decode, size: Size) -> Drawn:
    return Drawn(decode(mask), Counter())


def read_numbers(path: Path) -> np.ndarray:
    """A mask file as stored. Raises: BrokenLabelsError where it cannot be read."""
    try:
        return read_mask(path)
    except UserError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise BrokenLabelsError("masks that cannot be read", f"{path.name}: {reason}") from None


def read_colors(path: Path) -> np.ndarray:
    """A mask file as people see it (H, W, 3) uint8 RGB, or (H, W) numbers where it is grey.

    Raises:
        BrokenLabelsError: it cannot be read.
    """
    raw = read_numbers(path)
    if raw.ndim == 3:
        return raw[..., :3]
    with Image.open(path) as file:
        palette = file.getpalette("RGB") if file.mode == "P" else None
    if palette is None:
        return raw
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette) // 3] = np.array(palette, np.uint8).reshape(-1, 3)
    return colors[raw]


def relabelled(raw: np.ndarray, table: Mapping[int, int], path: Path, repair: str) -> np.ndarray:
    """A mask of a source's numbers -> one of ours.

    Args:
        raw: (H, W) unsigned integers.
        table: number in the source -> class, UNLABELLED or IGNORE.
        repair: what to do with a number that is not there.

    Raises:
        BrokenLabelsError: the mask has other numbers, or colours.
    """
    if raw.ndim != 2:
        raise BrokenLabelsError("masks with colours where numbers are expected", path.name)
    return _looked_up(raw.astype(np.int64), table, lambda number: str(number), "numbers", path, repair)


def recolored(rgb: np.ndarray, table: Mapping[Color, int], path: Path, repair: str) -> np.ndarray:
    """A mask of colours (H, W, 3) -> one of ours; otherwise as `relabelled`."""
    codes = rgb.astype(np.int64) @ np.array([65536, 256, 1])
    coded = {(red << 16) + (green << 8) + blue: label for (red, green, blue), label in table.items()}
    return _looked_up(codes, coded, lambda code: f"#{code:06x}", "colours", path, repair)


def _looked_up(
    codes: np.ndarray, table: Mapping[int, int], said: Callable[[int], str], what: str, path: Path, repair: str
) -> np.ndarray:
    known = np.array(sorted(table))
    labels = np.array([table[code] for code in known.tolist()], np.uint8)
    places = np.searchsorted(known, codes).clip(max=len(known) - 1)
    unknown = known[places] != codes
    if unknown.any():
        values, counts = np.unique(codes[unknown], return_counts=True)
        most = int(np.argmax(counts))
        pixels = f"{said(int(values[most]))} in {counts[most]} pixels"
        raise BrokenLabelsError(f"masks with {what} of no class ({repair})", f"{path.name}: {pixels}")
    return labels[places]
