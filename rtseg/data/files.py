"""Image and label files on disk: pairing and reading them whole, and saying what is wrong with a folder."""

import contextlib
import glob
import os
import stat
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from rtseg.data.gathering import Unpaired, listener
from rtseg.data.header import IMAGE_SUFFIXES, image_size, is_tiff, jpeg_ends
from rtseg.data.kinds import HEAD, RAW_SUFFIXES, refuse_other_kind
from rtseg.data.mask_file import MaskError, stored_numbers
from rtseg.data.tiff import TiffError, count_pages, first_page, kept_from_alpha
from rtseg.data.tiff_rgb import other_reader
from rtseg.data.walk import find_files
from rtseg.errors import UserError, first_line
from rtseg.paths import no_images

MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")
MAX_PIXELS = 178_956_970  # Pillow's limit: 0.5 GiB as RGB. Telephones' 108 megapixels pass
_MAX_SIDE = 2**20  # OpenCV's
_LARGE = 2**25  # pixels, of which no second copy is made
_RGB = cv2.IMREAD_COLOR_RGB
_SHRUNK = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}
LAB_REPAIR = "readers differ in how they turn these into RGB; convert it to RGB (in Python with PIL.ImageCms)"
_PHOTOMETRIC, _LAB = 262, (8, 9, 10)  # a TIFF's tag of what its colours are; CIELab, ICCLab, ITULab
_SAMPLES, _SAMPLE_FORMAT = 277, 339
_JPEG_2000, _YCC = b"\0\0\0\x0cjP  ", b"colr\1\0\0\0\0\0\x12"
_IMAGE, _MASK = "image", "label image"


def read_image(
    path: Path, max_pixels: int = MAX_PIXELS, admit: Callable[[int], object] = lambda pixels: None, *, shrink: int = 1
) -> np.ndarray:
    """An image file -> HWC uint8 RGB, turned upright by its EXIF tag. Alpha is left out.

    Args:
        max_pixels: more are refused before anything is decoded.
        admit: is given the number of pixels before they are decoded, and may wait until there is room for them.
        shrink: 1, 2, 4 or 8: a JPEG is decoded at this fraction of its sides, in less time; at a larger one where they
            are no multiples of it, since its pixels would lie a little elsewhere.

    Raises:
        UserError: the file cannot be read whole, is no image, or is too large.
    """
    data, pixels = read_whole(path, max_pixels, _IMAGE)
    admit(pixels)
    _check_plain(path, data)
    head, length = data[:HEAD], len(data)
    if is_tiff(data) and (read := _reader(path, data)):
        return decoded(path, head, length, _IMAGE, partial(read, data))
    while any(side % shrink for side in image_size(data) or ()):
        shrink //= 2
    if shrink > 1 and data.startswith(b"\xff\xd8"):
        return decoded(path, head, length, _IMAGE, partial(_decode_shrunk, np.frombuffer(data, np.uint8), shrink))
    stored = kept_from_alpha(data) if is_tiff(data) else data
    if pixels < _LARGE or stored is not data:
        data = stored
        return decoded(path, head, length, _IMAGE, partial(cv2.imdecode, np.frombuffer(data, np.uint8), _RGB))
    del data, stored
    return decoded(path, head, length, _IMAGE, lambda: _decode_large(path))


def decode_image(name: Path, data: bytes, max_pixels: int) -> np.ndarray:
    """The bytes of an image file -> what `read_image` makes of the file, without a file.

    Args:
        name: of the image, for errors.

    Raises:
        UserError: see `read_image`.
    """
    check_whole(name, data, max_pixels, _IMAGE)
    _check_plain(name, data)
    if is_tiff(data) and (read := _reader(name, data)):
        return decoded(name, data[:HEAD], len(data), _IMAGE, partial(read, data))
    stored = np.frombuffer(kept_from_alpha(data) if is_tiff(data) else data, np.uint8)
    return decoded(name, data[:HEAD], len(data), _IMAGE, partial(cv2.imdecode, stored, _RGB))


def _decode_shrunk(data: np.ndarray, shrink: int) -> np.ndarray | None:
    pixels = cv2.imdecode(data, _SHRUNK[shrink])
    return None if pixels is None else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _check_plain(path: Path, data: bytes) -> None:
    """Refuses what readers turn into RGB each in its own way, or leave out a part of.

    Raises:
        UserError: another space of colours, signed values or floats, too many channels, or several pages.
    """
    if data.startswith(_JPEG_2000) and _YCC in data[:HEAD]:
        raise UserError(f"{path}: a JPEG 2000 image of YCbCr: readers differ in its colours; save it as PNG")
    if not is_tiff(data):
        return
    tags = first_page(data)
    if tags.get(_PHOTOMETRIC, (2,))[0] in _LAB:
        raise UserError(f"{path}: a TIFF of CIELab colours: {LAB_REPAIR}")
    kind, number = (tags.get(tag, (1,))[0] for tag in (_SAMPLE_FORMAT, _SAMPLES))
    if kind in (2, 3) or number > 4:
        what = "floats" if kind == 3 else f"{number} channels" if number > 4 else "values with a sign"
        raise UserError(
            f"{path}: a TIFF of {what} is no RGB image: set data.channels, which reads floats and any number of "
            "channels (docs/channels.md), or save it as RGB of 8 bits"
        )
    if (pages := count_pages(data)) > 1:
        raise UserError(f"{path}: a TIFF of {pages} pages; save each page as a file of its own")


def _reader(path: Path, data: bytes) -> Callable[[bytes], np.ndarray] | None:
    """What reads a TIFF, see `other_reader`. Raises: UserError where nothing does."""
    try:
        return other_reader(data)
    except TiffError as error:
        raise UserError(f"{path}: {error}") from None


def _decode_large(path: Path) -> np.ndarray | None:
    """Holds the pixels once; `imdecode` copies them, and needs the bytes of the file."""
    with contextlib.suppress(cv2.error, UnicodeError):  # a release without this form; a name on which it would crash
        if (pixels := cv2.imread(str(path).encode().decode(), None, _RGB)) is not None:
            return pixels
    return cv2.imdecode(np.fromfile(path, np.uint8), _RGB)


def read_mask(path: Path) -> np.ndarray:
    """A label file as stored: HW of class numbers (a palette gives the index, 16 bit stays), or HWC RGB / RGBA.

    Raises:
        UserError: the file cannot be read whole, is no label image, went through a lossy format such as JPEG, or has
            more than `MAX_PIXELS` pixels.
    """
    data, _ = read_whole(path, MAX_PIXELS, _MASK)
    return decoded(path, data[:HEAD], len(data), _MASK, lambda: stored_numbers(data))


def decoded(path: Path, head: bytes, length: int, what: str, decode: Callable[[], np.ndarray | None]) -> np.ndarray:
    """What a decoder makes of a file. Decoders meet damage with exceptions of any kind: they end here.

    Args:
        head: the file's first bytes.
        length: all of its bytes.
    """
    why = ""
    try:
        if (pixels := decode()) is not None:
            return pixels
    except UserError:
        raise
    except TiffError as error:  # the file is whole, and its text says what to do
        raise UserError(f"{path}: {error}") from None
    except MaskError as error:
        refuse_other_kind(path, head, what)
        raise _unreadable(path, str(error), what) from None
    except MemoryError:
        why = ", too large for the memory"
    except Exception as error:
        why = f", {getattr(error, 'err', None) or first_line(error)}"  # OpenCV's str() begins with where it was built
    refuse_other_kind(path, head, what)
    raise _unreadable(path, f"{length} bytes{why}", what)


def _unreadable(path: Path, found: str, what: str) -> UserError:
    repair = (
        "save it as a PNG of 8 or 16 bit class numbers, made anew from the labels"
        if what == _MASK
        else "replace or remove it"
    )
    return UserError(f"{path}: not a readable {what} ({found}); {repair}")


def read_whole(path: Path, max_pixels: int, what: str, most: int | None = None) -> tuple[bytes, int]:
    """The bytes of a file whose header promises at most `max_pixels`, and how many it promises.

    A JPEG or PNG that breaks off is refused, where OpenCV would fill the rest and go on.

    Args:
        what: the file should be, "image" or "label image".
        most: bytes of the file; None: as many as the largest image takes without compression, with alpha, and what
            cameras add.

    Raises:
        UserError: it cannot be read, is cut or of another kind, or is too large.
    """
    most = most or 4 * max_pixels + 2**26
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device would be waited for
            raise UserError(f"{path}: a folder, pipe or device, not an image file; remove it")
        if status.st_size > most or path.suffix.lower() in RAW_SUFFIXES:  # many RAW files would be read as a preview
            with path.open("rb") as file:
                refuse_other_kind(path, file.read(HEAD), what)
        _check_at_most(path, f"{status.st_size:,} bytes", status.st_size, most)
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except MemoryError:
        raise UserError(f"{path}: {status.st_size:,} bytes do not fit into the memory; replace or remove it") from None
    return data, check_whole(path, data, max_pixels, what)


def check_whole(path: Path, data: bytes, max_pixels: int, what: str) -> int:
    """The pixels that the bytes of a file promise, see `read_whole`.

    Raises:
        UserError: they are cut or of another kind, or promise more than `max_pixels`.
    """
    jpeg_cut = data.startswith(b"\xff\xd8") and not jpeg_ends(data)
    png_cut = data.startswith(b"\x89PNG") and data.rfind(b"IEND") < 0
    if not data or jpeg_cut or png_cut:
        raise UserError(
            f"{path}: {'truncated' if data else 'empty'} file ({len(data)} bytes); copy or download it again"
        )
    size = image_size(data)
    if size is None or 0 in size:
        refuse_other_kind(path, data[:HEAD], what)
        raise _unreadable(path, f"{len(data)} bytes", what)
    width, height = size
    _check_at_most(path, f"{width}x{height} pixels (width x height)", width * height, max_pixels)
    if max(size) > _MAX_SIDE:
        raise UserError(f"{path}: {width}x{height} pixels (width x height), and no side may exceed {_MAX_SIDE:,}")
    return width * height


def _check_at_most(path: Path, what: str, value: int, most: int) -> None:
    if value > most:
        raise UserError(
            f"{path}: {what} are more than the limit of {most:,}; make the image smaller, or remove it "
            "(`rtseg predict` takes larger ones with --max-pixels, and with --tile they need little memory)"
        )


def find_images(source: str, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> tuple[Path, list[Path]]:
    """The images that a file, a folder (searched to the bottom) or a glob stands for, and the folder they are in.

    Raises:
        UserError: no such thing, or none in it.
    """
    path = Path(os.path.expanduser(source))  # Path's own ends in an error for a user that does not exist
    if os.path.isfile(path):  # which, unlike Path's, takes a name of any length
        return path.parent, [path]
    if os.path.isdir(path):
        root, found = path, find_files(path, suffixes, "**/*")
    elif glob.has_magic(source):
        root = next(folder for folder in path.parents if not glob.has_magic(str(folder)))
        found = find_files(root, suffixes, path.relative_to(root).as_posix())
    elif os.path.exists(path):
        raise UserError(f"'{source}' is a pipe or a device, not an image, folder or glob")
    else:
        raise UserError(no_images(source))
    if not found:
        raise UserError(f"no images in '{source}': looked for {', '.join(suffixes)}")
    return root, found


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

    Keys are compared in one form of Unicode: a name that macOS has written is that of Linux.

    Args:
        wanted: where masks were looked for, for the error message.
        key: what image and mask share; by default the file name without its ending.
        mask_key: the same of a mask, where it is found otherwise.

    Raises:
        UserError: an image without mask, or two files with one key; not while somebody is `gathering`.
    """
    by_key, doubled = _by_key(masks, mask_key or key)
    image_by_key, doubled_images = _by_key(images, key)
    without = [path for name, path in image_by_key.items() if name not in by_key]
    doubled = [*doubled, *doubled_images]
    if (gathered := listener()) is not None:
        gathered.unpaired.append(
            Unpaired(without, [path for name, path in by_key.items() if name not in image_by_key], doubled)
        )
    elif doubled:
        name, one, other = doubled[0]
        raise UserError(f"{one} and {other} both stand for '{name}'; remove one")
    elif without:
        raise UserError(
            f"{without[0]} has no mask ({len(without)} of {len(images)} images have none); looked for {wanted}. "
            "Add the masks or remove the images"
        )
    return [(image, by_key[name]) for name, image in image_by_key.items() if name in by_key]


def _same_form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _by_key(files: Sequence[Path], key: Callable[[Path], str]) -> tuple[dict[str, Path], list[tuple[str, Path, Path]]]:
    """The first file of each key; then each further one, behind its key and the first."""
    found: dict[str, Path] = {}
    doubled: list[tuple[str, Path, Path]] = []
    for path in files:
        name = _same_form(key(path))
        if (first := found.setdefault(name, path)) is not path:
            doubled.append((name, first, path))
    return found, doubled


def _listing(folder: Path, most: int = 8) -> str:
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    more = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + more or "nothing"
