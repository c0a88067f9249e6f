"""Image and label files on disk: finding, pairing and reading them whole, and saying what is wrong with a folder."""

import glob
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from rtseg.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")


def read_image(path: Path) -> np.ndarray:
    """An image file -> HWC uint8 RGB, turned upright by its EXIF tag. UserError where it cannot be read whole."""
    image = cv2.imdecode(_read_whole(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UserError(f"{path}: not a readable image ({path.stat().st_size} bytes); replace or remove it")
    return image


def read_mask(path: Path) -> np.ndarray:
    """A label file as stored: HW of class numbers (palette PNGs give the index, 16 bit stays), or HWC RGB / RGBA."""
    data = _read_whole(path)
    depth, colors = (int(data[24]), int(data[25])) if _is_png(data) else (8, 0)
    if colors == 3:  # OpenCV turns a palette's numbers into its colours
        with Image.open(path) as file:
            return np.asarray(file)
    raw = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if raw is None or raw.dtype not in (np.uint8, np.uint16):
        found = f"{path.stat().st_size} bytes" if raw is None else f"{raw.dtype} pixels"
        raise UserError(f"{path}: not a readable label image ({found}); expected a PNG of 8 or 16 bit class numbers")
    if depth < 8:  # OpenCV spreads 1, 2 and 4 bits over 0..255
        return raw // (255 // (2**depth - 1))
    if raw.ndim == 3:
        raw = cv2.cvtColor(raw, cv2.COLOR_BGRA2RGBA if raw.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    return raw


def _is_png(data: np.ndarray) -> bool:
    """With a whole header: byte 24 is the bit depth, byte 25 the kind of colours (3: palette)."""
    return data[:4].tobytes() == b"\x89PNG" and len(data) > 25


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


def find_pictures(source: str) -> tuple[Path, list[Path]]:
    """The images that a file, a folder (searched to the bottom) or a glob stands for, and the folder they are in.

    Raises:
        UserError: no such thing, or none in it.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path.parent, [path]
    if path.is_dir():
        root, found = path, find_files(path, IMAGE_SUFFIXES, "**/*")
    elif glob.has_magic(source):
        root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
        matches = (Path(match) for match in glob.glob(str(path), recursive=True))
        found = sorted(match for match in matches if match.is_file() and match.suffix.lower() in IMAGE_SUFFIXES)
    else:
        raise UserError(f"no such image, folder or glob: '{source}'")
    if not found:
        raise UserError(f"no images in '{source}': looked for {', '.join(IMAGE_SUFFIXES)}")
    return root, found


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
