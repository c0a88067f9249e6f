"""Hostile and damaged image files: each ends as a sentence with its name, before memory is asked for."""

import contextlib
import io
import os
import resource
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rtseg.data.files import find_images, read_image, read_mask
from rtseg.data.header import image_size
from rtseg.data.walk import find_files
from rtseg.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 255, (48, 61, 3), np.uint8)
KINDS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")


def encoded(kind: str, image: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int, colors: int) -> bytes:
    """A whole PNG of whatever size with hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colors, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(6)) if colors == 3 else b""
    parts = (chunk(b"IHDR", header), palette, chunk(b"IDAT", zlib.compress(bytes(1000))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def jpeg(width: int, height: int) -> bytes:
    """A small one whose frame header claims another size."""
    data = bytearray(encoded("JPEG", Image.fromarray(PIXELS)))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IIIIiiHHIIIIII", 64, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(10)


def tiff(width: int, height: int, tile: int) -> bytes:
    entries = [(256, width), (257, height), (322, tile), (323, tile)]
    return b"II*\0" + struct.pack("<IH", 8, 4) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in entries)


CLAIMS = {
    "64 bytes.bmp": bmp(2**15, 2**15),
    "upside down.bmp": bmp(2**15, -(2**15)),
    "600 bytes.jpg": jpeg(65500, 65500),
    "p.png": b"P6\n32768 32768\n255\n" + bytes(100),
    "30000.png": png(30000, 30000, 8, 2),
    "one bit.png": png(40000, 30000, 1, 0),
    "wide.png": png(2_000_000, 8, 8, 0),
    "palette.png": png(14000, 13000, 8, 3),
    "large.tif": tiff(2**15, 2**15, 16),
    "large tile.tif": tiff(16, 16, 2**15),
    "large.webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + bytes.fromhex("ff3f00 ff3f00") + bytes(30),
    "chunk.png": png(8, 8, 8, 0).replace(struct.pack(">I", 17) + b"IDAT", struct.pack(">I", 2**31 - 1) + b"IDAT"),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_more_pixels_than_the_limit_are_refused_before_they_are_decoded(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CLAIMS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for read in (read_image, read_mask):
        with pytest.raises(UserError, match=r"limit of 178,956,970|no side may exceed|not a readable") as refusal:
            read(path)
        assert str(refusal.value).startswith(f"{path}: ")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB


@pytest.mark.parametrize("progressive", [False, True])
def test_bytes_behind_a_jpeg_are_not_its_own(tmp_path: Path, progressive: bool) -> None:
    path = tmp_path / "a.jpg"
    preview = encoded("JPEG", Image.fromarray(PIXELS[:8, :8]))
    whole = encoded("JPEG", Image.fromarray(PIXELS), progressive=progressive, comment=preview)
    assert whole.count(b"\xff\xd9") == 2
    for end in (b"", b"\xff\xd9\xff\xda film", b"\xff\xd8 another \xff\xda"):
        path.write_bytes(whole + end)
        assert read_image(path).shape == PIXELS.shape
    for cut in (3, 40, 1000):
        path.write_bytes(whole[:-cut])
        with pytest.raises(UserError, match=r"a\.jpg: truncated"):
            read_image(path)


def test_the_limit_is_an_option(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    assert read_image(path, 48 * 61).shape == (48, 61, 3)
    with pytest.raises(UserError, match=r"a\.png: 61x48 pixels .* limit of 2,927"):
        read_image(path, 48 * 61 - 1)


def test_random_damage_to_the_first_200_bytes(tmp_path: Path) -> None:
    """An image, or a sentence with the file's name: 150 of 150."""
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.png"
    image = Image.fromarray(PIXELS)
    files = [encoded(kind, image) for kind in KINDS] + [encoded("PNG", image.convert("P"))]
    refused = 0
    for k in range(150):
        data = bytearray(files[k % len(files)])
        for at in rng.integers(0, 200, rng.integers(1, 9)):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        for read in (read_image, read_mask):
            with contextlib.suppress(UserError):
                read(path)
                continue
            with pytest.raises(UserError, match=f"^{path}: "):
                read(path)
            refused += 1
    assert refused > 50


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_the_header_says_what_is_decoded(kind: str, width: int, height: int, palette: bool) -> None:
    image = Image.new("P" if palette and kind in ("PNG", "BMP", "TIFF", "GIF") else "RGB", (width, height))
    for options in [{}, {"lossless": True}] if kind == "WEBP" else [{}]:
        assert image_size(encoded(kind, image, **options)) == (width, height)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*", b"II+\0", b""]),
    st.binary(max_size=80),
)
def test_any_bytes_have_a_size_or_none(start: bytes, rest: bytes) -> None:
    assert (size := image_size(start + rest)) is None or min(size) >= 0


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "dangling.png").symlink_to("nothing.png")
    (folder / "loop.png").symlink_to("loop.png")
    Image.fromarray(PIXELS).save(folder / "good.png")
    assert find_images(str(folder))[1] == [folder / "good.png"]
    for name in ("pipe.png", "folder.png", "dangling.png", "loop.png", "x" * 300, "good.png/a.png"):
        with pytest.raises(UserError, match=name[:40]):
            read_image(folder / name)
        if name != "folder.png":
            with pytest.raises(UserError, match=r"is a pipe or a device|no such image"):
                find_images(str(folder / name))
    with pytest.raises(UserError, match="no such image"):
        find_images("~nobody-of-this-name/a.png")


def test_a_film_is_called_a_film(tmp_path: Path) -> None:
    film = tmp_path / "street.mp4"
    film.write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    with pytest.raises(UserError, match=r"street\.mp4: this is a film, and an image is expected"):
        read_image(film)


def test_more_bytes_than_an_image_takes_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UserError, match=r"sparse\.png: 1,099,511,627,776 bytes"):
        read_image(path)


def test_a_name_that_the_system_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be searched"):
        find_files(tmp_path / ("a" * 5000), [".png"])


@pytest.mark.slow
def test_a_large_image_is_as_a_small_one_would_be(tmp_path: Path) -> None:
    """From 2**25 pixels the file is decoded without a copy; turned upright, and from a name that is no UTF-8."""
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.linear_gradient("L").resize((5800, 5800)).crop((0, 0, 5800, 5790))
    data = encoded("JPEG", image, exif=exif.tobytes())
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded is not None
    for name in (b"large.jpg", b"large\xff.jpg"):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(data)
        assert np.array_equal(read_image(path), decoded)
