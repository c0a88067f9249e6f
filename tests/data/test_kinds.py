"""A file that is no image is called what it is, by its bytes, whatever its name."""

import io
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rtseg.data.files import read_image, read_mask
from rtseg.data.kinds import FilmError
from rtseg.errors import UserError


def zipped() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("a.txt", "a")
    return data.getvalue()


def tarred() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.txt"))
    return data.getvalue()


def checkpoint() -> bytes:
    data = io.BytesIO()
    torch.save({"state_dict": {}}, data)
    return data.getvalue()


def array() -> bytes:
    data = io.BytesIO()
    np.save(data, np.zeros(3))
    return data.getvalue()


KINDS = {
    "a PDF; save its pages as PNG": b"%PDF-1.7\n" + bytes(100),
    "a zip archive; unpack it": zipped(),
    "a network; give images": checkpoint(),
    "a tar archive; unpack it": tarred(),
    "a gzip archive; unpack it": b"\x1f\x8b\x08" + bytes(20),
    "a NumPy array; in Python": array(),
    "a text file; give an image": "Größe\n".encode() * 2000,
    "a web page; perhaps the download failed": b"\n<!DOCTYPE html><html><body>404</body></html>",
    r"a drawing \(SVG\); save it": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
    "a HEIC image; save it as PNG, JPEG or TIFF": b"\0\0\0\x18ftypheic" + bytes(100),
    "a pointer of Git LFS, not the file itself; fetch it": b"version https://git-lfs.github.com/spec/v1\noid 0\n",
    "a camera's RAW file; save it": b"FUJIFILMCCD-RAW 0201" + bytes(100),
}


@pytest.mark.parametrize("what", KINDS)
def test_a_file_is_called_what_it_is(what: str, tmp_path: Path) -> None:
    file = tmp_path / "street.jpg"
    file.write_bytes(KINDS[what])
    with pytest.raises(UserError, match=rf"street\.jpg: not a readable image: it is {what}"):
        read_image(file)
    with pytest.raises(UserError, match=f"not a readable label image: it is {what}"):
        read_mask(file)


@pytest.mark.parametrize("name", ["net.onnx", "net.mnn", "net.safetensors", "net.pth", "net.xml", "net.pt2"])
def test_a_network_is_no_image(name: str, tmp_path: Path) -> None:
    start = {".xml": b'<?xml version="1.0"?>\n<net name="Model0" version="11">', ".pt2": b"PK\x03\x04"}
    file = tmp_path / name
    file.write_bytes(start.get(file.suffix, b"\x08\x07\xff") + bytes(100) * (file.suffix != ".xml"))
    with pytest.raises(UserError, match=r"not a readable image: it is a network; give images"):
        read_image(file)


def test_a_raw_file_is_not_read_as_its_preview(tmp_path: Path) -> None:
    file = tmp_path / "street.dng"
    file.write_bytes(cv2.imencode(".tif", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    with pytest.raises(UserError, match="it is a camera's RAW file; save it as PNG, JPEG or TIFF"):
        read_image(file)


FILMS = {
    "MPEG-4": b"\0\0\0\x20ftypisom" + bytes(100),
    "QuickTime": b"\0\0\0\x08wide\0\0\1\0mdat" + bytes(100),
    "Matroska, WebM": b"\x1a\x45\xdf\xa3" + bytes(100),
    "AVI": b"RIFF\0\1\0\0AVI LIST" + bytes(100),
    "MPEG": b"\0\0\1\xba" + bytes(100),
    "a transport stream": (b"G" + bytes(187)) * 3,
}


@pytest.mark.parametrize("kind", FILMS)
def test_a_film_is_one_by_its_bytes_and_of_any_size(kind: str, tmp_path: Path) -> None:
    film = tmp_path / "street.jpg"
    film.write_bytes(FILMS[kind])
    for most in (2**26, 1):
        with pytest.raises(FilmError, match=r"street\.jpg: this is a film, and an image is expected"):
            read_image(film, most)
    with film.open("r+b") as file:
        file.truncate(2**29)  # sparse: it takes no room
    with pytest.raises(FilmError):
        read_image(film, 1)


def test_damaged_images_and_unknown_bytes_are_not_given_a_name(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n\x1a\n" + bytes(40) + b"IEND", bytes(300), b"\x80\x81\x82" * 100):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.png: not a readable image \(\d+ bytes"):
            read_image(tmp_path / "a.png")
