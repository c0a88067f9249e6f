"""The kind of a file that is not an image: its first bytes tell, whatever its name says.

Looked at only after a file could not be read, so reading images costs nothing more.
"""

from pathlib import Path

from rtseg.errors import UserError
from rtseg.paths import NETWORK_SUFFIXES

HEAD = 4096  # bytes that are looked at
_NETWORK = ("a network", "give images")
_RECORD = slice(30, 256)  # of a zip archive: where the name of its first file stands
_UNPACK = "unpack it, and give the folder"
_GIVE = "give an image, or a PNG of 8 or 16 bit class numbers as a label image"
_SAVE = "save it as PNG, JPEG or TIFF"
_STARTS = (
    (b"%PDF", "a PDF", "save its pages as PNG"),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"PK\x05\x06", "an empty zip archive", _UNPACK),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"FUJIFILMCCD-RAW", "a camera's RAW file", _SAVE),
    (b"IIRO", "a camera's RAW file", _SAVE),
    (b"IIRS", "a camera's RAW file", _SAVE),
    (b"IIU\0", "a camera's RAW file", _SAVE),
    (b"8BPS", "a Photoshop document", _SAVE),
    (b"\x93NUMPY", "a NumPy array", "in Python, call the network with it: rtseg.load(...)(array)"),
    (b"\x89HDF", "an HDF5 file", "save its images as PNG"),
    (b"\x7fELF", "a program", _GIVE),
    (b"MZ", "a program", _GIVE),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch it: git lfs pull"),
    (b"ID3", "a sound file", _GIVE),
    (b"\xff\x0a", "a JPEG XL image", _SAVE),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", _SAVE),
)
_FILMS = (
    b"\x1a\x45\xdf\xa3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"FLV\x01",
    b"OggS",
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # of MP4 and QuickTime
_BRANDS = {
    b"hei": ("a HEIC image", _SAVE),
    b"hev": ("a HEIC image", _SAVE),
    b"mif": ("a HEIF image", _SAVE),
    b"msf": ("a HEIF image", _SAVE),
    b"avi": ("an AVIF image", _SAVE),
    b"crx": ("a camera's RAW file", _SAVE),
    b"M4A": ("a sound file", _GIVE),
}
RAW_SUFFIXES = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw")


class FilmError(UserError):
    """A film where an image is expected."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: this is a film, and an image is expected; `rtseg predict NETWORK FILM -o FOLDER` segments each "
            "frame of a film"
        )


def is_film(path: Path) -> bool:
    """Whether a file is a film by its first bytes; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return _is_film(file.read(HEAD))
    except OSError:
        return False


def kind_of(path: Path) -> str | None:
    """What a file is, as "a web page"; None for films, images and unknown kinds, and where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return None
    found = None if _is_film(head) else _kind(path, head)
    return found and found[0]


def refuse_other_kind(path: Path, head: bytes, expected: str = "image") -> None:
    """Says what a file is that is not an image.

    Args:
        head: its first `HEAD` bytes.
        expected: what it should be, "image" or "label image".

    Raises:
        UserError: its kind is known; the message has what to do. `FilmError` where it is a film.
    """
    if _is_film(head):
        raise FilmError(path)
    if found := _kind(path, head):
        what, repair = found
        raise UserError(f"{path}: not a readable {expected}: it is {what}; {repair}")


def _is_film(head: bytes) -> bool:
    if head.startswith(b"RIFF"):
        return head[8:12] == b"AVI "
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":  # packets of an MPEG transport stream
        return True
    return head.startswith(_FILMS) or (head[4:8] in _BOXES and head[8:11] not in _BRANDS)


def _kind(path: Path, head: bytes) -> tuple[str, str] | None:
    """The kind, and what to do; None for an unknown kind, which may be a damaged image."""
    if head.startswith(b"PK\x03\x04") and (b"/data.pkl" in head[_RECORD] or path.suffix.lower() == ".pt2"):
        return _NETWORK  # PyTorch's files are zip archives
    for start, what, repair in _STARTS:
        if head.startswith(start):
            return what, repair
    if head[4:8] == b"ftyp":
        return _BRANDS[head[8:11]]
    if head.startswith(b"RIFF") and head[8:12] == b"WAVE":
        return "a sound file", _GIVE
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if head[128:132] == b"DICM":
        return "a DICOM file", _SAVE
    if path.suffix.lower() in RAW_SUFFIXES:
        return "a camera's RAW file", _SAVE
    return _text(head) or (_NETWORK if path.suffix.lower() in NETWORK_SUFFIXES else None)


def _text(head: bytes) -> tuple[str, str] | None:
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else the head ends inside a character
            return None
        text = head[: error.start].decode("utf-8-sig")
    if not text.strip() or any(ord(letter) < 32 and letter not in "\t\n\r\f" for letter in text):
        return None
    start = text.lstrip()[:256].lower()
    if "<svg" in text[:1024].lower():
        return "a drawing (SVG)", _SAVE
    if "<net name=" in start:  # OpenVINO's .xml
        return _NETWORK
    if start.startswith(("<!doctype html", "<html")):
        return "a web page", "perhaps the download failed; download the image again"
    return "a text file", _GIVE
