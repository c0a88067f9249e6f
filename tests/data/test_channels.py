"""An array that another library has written comes back as levels; what is not plain channels is one sentence."""

import contextlib
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rtseg.data.channels import read_channels
from rtseg.data.files import read_image
from rtseg.errors import UserError

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw(seed: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return random.random(shape).astype(dtype)
    return random.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def levels(stored: np.ndarray) -> np.ndarray:
    stored = stored if stored.ndim == 3 else stored[..., None]
    if stored.dtype == np.uint8:
        return stored
    return stored.astype(np.float32) / np.float32(257) if stored.dtype.kind == "u" else stored.astype(np.float32) * 255


def check(path: Path, stored: np.ndarray) -> None:
    expected = levels(stored)
    found = read_channels(path, expected.shape[2])
    assert found.dtype == expected.dtype
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, expected)


@QUICK
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    channels=st.integers(1, 12),
    dtype=st.sampled_from(["uint8", "uint16", "float16", "float32", "float64"]),
    separate=st.booleans(),
    compression=st.sampled_from([None, "deflate", "lzma"]),
    predictor=st.booleans(),
    tile=st.booleans(),
    little=st.booleans(),
    big=st.booleans(),
    rows=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_a_tiff_that_tifffile_writes_is_read(
    tmp_path: Path, height: int, width: int, channels: int, dtype: str, separate: bool, compression: str | None,
    predictor: bool, tile: bool, little: bool, big: bool, rows: int, seed: int,
) -> None:  # fmt: skip
    stored = draw(seed, (height, width, channels), dtype)
    separate &= channels > 1
    written = np.ascontiguousarray(stored.transpose(2, 0, 1)) if separate else stored
    difference = predictor and compression == "deflate" and np.dtype(dtype).kind == "u"
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, written if channels > 1 else stored[..., 0], photometric="minisblack", bigtiff=big,
        byteorder="<" if little else ">",
        planarconfig=("separate" if separate else "contig") if channels > 1 else None, compression=compression,
        predictor=difference or None, metadata=None, **({"tile": (16, 16)} if tile else {"rowsperstrip": rows}),
    )  # fmt: skip
    check(path, stored)


@QUICK
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    kind=st.sampled_from([("uint8", 1), ("uint16", 1), ("uint8", 3), ("uint16", 3), ("uint8", 4), ("uint16", 4)]),
    suffix=st.sampled_from([".png", ".tif"]),
    seed=st.integers(0, 99),
)
def test_an_image_that_opencv_writes_is_read(
    tmp_path: Path, height: int, width: int, kind: tuple[str, int], suffix: str, seed: int
) -> None:
    """Its TIFFs are compressed by LZW with differences."""
    stored = draw(seed, (height, width, kind[1]), kind[0])
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[kind[1]]
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), np.ascontiguousarray(stored[..., order]))
    check(tmp_path / f"a{suffix}", stored)


@QUICK
@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    mode=st.sampled_from(["L", "LA", "RGB", "RGBA", "I;16", "F"]),
    file=st.sampled_from([".png", ".tif", "tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"]),
    seed=st.integers(0, 99),
)
def test_an_image_that_pillow_writes_is_read(
    tmp_path: Path, height: int, width: int, mode: str, file: str, seed: int
) -> None:
    dtype = {"I;16": "uint16", "F": "float32"}.get(mode, "uint8")
    file = ".tif" if mode == "F" and file == ".png" else file
    count = len(mode) if dtype == "uint8" else 1
    stored = draw(seed, (height, width, count)[: 2 + (count > 1)], dtype)
    path = tmp_path / ("a.png" if file == ".png" else "a.tif")
    Image.fromarray(stored, None if mode == "I;16" else mode).save(path, compression=None if file[0] == "." else file)
    check(path, stored)


@QUICK
@given(
    shape=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    dtype=st.sampled_from(["u1", "<u2", ">u2", "<f2", "<f4", ">f4", "<f8"]),
    fortran=st.booleans(),
    seed=st.integers(0, 99),
)
def test_an_array_that_numpy_writes_is_read(
    tmp_path: Path, shape: list[int], dtype: str, fortran: bool, seed: int
) -> None:
    stored = draw(seed, tuple(shape), dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(stored) if fortran else stored)
    check(tmp_path / "a.npy", stored)


def write_tiff(path: Path, part: bytes, height: int, width: int, **numbers: int | tuple[int, ...]) -> None:
    """A TIFF of one strip, whose entries are given by number."""
    tags: dict[int, int | tuple[int, ...]] = {
        256: width,
        257: height,
        258: 8,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: height,
        279: len(part),
    }
    tags |= {int(key[1:]): value for key, value in numbers.items()}
    start = 8 + 2 + 12 * len(tags) + 4
    beside, entries = b"", b""
    tags[273] = start + sum(4 * len(value) for value in tags.values() if isinstance(value, tuple))
    for tag, value in sorted(tags.items()):
        if isinstance(value, tuple):
            entries += struct.pack("<HHII", tag, 4, len(value), start + len(beside))
            beside += struct.pack(f"<{len(value)}I", *value)
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(head + beside + part)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_float_predictor_is_undone(tmp_path: Path, dtype: str) -> None:
    """In a row the first bytes of all floats come first, then the differences of bytes a channel's number apart."""
    stored, size = draw(0, (5, 7, 3), dtype), np.dtype(dtype).itemsize
    rows = stored.astype(f">f{size}").view(np.uint8).reshape(5, 21, size).transpose(0, 2, 1).reshape(5, -1, 3)
    coded = zlib.compress(np.diff(rows, axis=1, prepend=np.zeros((5, 1, 3), np.uint8)).tobytes())
    write_tiff(tmp_path / "a.tif", coded, 5, 7, t258=(8 * size,) * 3, t259=8, t262=2, t277=3, t317=3, t339=(3, 3, 3))
    check(tmp_path / "a.tif", stored)
    assert np.array_equal(tifffile.TiffFile(tmp_path / "a.tif").pages[0].tags[317].value, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ({"t262": 3}, "a palette"),
        ({"t262": 5}, "CMYK"),
        ({"t262": 6}, "YCbCr"),
        ({"t262": 8}, "CIELab"),
        ({"t258": 4}, "unsigned values of 4 bits"),
        ({"t258": 32}, "unsigned values of 32 bits"),
        ({"t258": 16, "t339": 2}, "signed values of 16 bits"),
        ({"t258": (8, 16)}, "8 and 16 bits"),
        ({"t339": 6}, "complex values"),
        ({"t259": 7}, "compression 7"),
        ({"t266": 2}, "right to left"),
    ],
)
def test_a_tiff_of_something_else_is_one_sentence(tmp_path: Path, numbers: dict[str, int], words: str) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, bytes(64), 4, 4, **numbers)
    with pytest.raises(UserError, match=words) as caught:
        read_channels(path, 1)
    assert str(path) in str(caught.value)
    assert "save" in str(caught.value)


def test_what_a_small_file_claims_costs_nothing(tmp_path: Path) -> None:
    """A hundred million tiles of one pixel; an entry of another program as long as the file; a thousand bit depths."""
    write_tiff(tmp_path / "a.tif", b"\0" * 9, 10_000, 10_000, _322=1, _323=1, _324=(300,) * 9, _325=(1,) * 9)
    write_tiff(tmp_path / "b.tif", b"\0" * 9, 3, 3, _700=tuple(range(100_000)))
    write_tiff(tmp_path / "c.tif", b"\0" * 9, 3, 3, _258=tuple(range(1000)))
    tracemalloc.start()
    with pytest.raises(UserError, match="9 strips or tiles of 100000000"):
        read_channels(tmp_path / "a.tif", 1)
    assert read_channels(tmp_path / "b.tif", 1).shape == (3, 3, 1)
    with pytest.raises(UserError, match="values of 1000 numbers of bits"):
        read_channels(tmp_path / "c.tif", 1)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**21


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    stored = draw(0, (4, 5), "uint16")
    write_tiff(tmp_path / "a.tif", stored.tobytes(), 4, 5, t258=16, t262=0)
    check(tmp_path / "a.tif", 65535 - stored)


def test_pages_of_full_size_are_refused_and_smaller_copies_are_not(tmp_path: Path) -> None:
    stored = draw(0, (8, 9, 5), "uint8")
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for factor, kind in ((1, 0), (2, 1), (4, 1)):
            file.write(stored[::factor, ::factor], photometric="minisblack", planarconfig="contig", subfiletype=kind)
    check(tmp_path / "a.tif", stored)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([stored] * 3), photometric="minisblack", planarconfig="contig")
    with pytest.raises(UserError, match=r"b.tif: a TIFF of 3 pages; save each page"):
        read_channels(tmp_path / "b.tif", 5)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_an_image_is_turned_upright_as_without_channels(tmp_path: Path, orientation: int, suffix: str) -> None:
    path, exif = tmp_path / f"a{suffix}", Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(draw(0, (8, 5, 3), "uint8")).save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(read_channels(path, 3), read_image(path))


@pytest.mark.parametrize(
    ("mode", "channels", "options"),
    [
        ("P", 3, {}),
        ("P", 4, {"transparency": 0}),
        ("L", 1, {"transparency": 0}),
        ("RGB", 3, {"transparency": (0, 0, 0)}),
    ],
)
def test_the_header_of_a_png_says_how_many_channels(
    tmp_path: Path, mode: str, channels: int, options: dict[str, Any]
) -> None:
    image = Image.fromarray(draw(0, (8, 9, 3), "uint8")).convert(mode)
    image.save(tmp_path / "a.png", **options)
    expected = {"P": image.convert("RGB"), "L": image, "RGB": image}[mode]
    found = read_channels(tmp_path / "a.png", channels)
    np.testing.assert_array_equal(found[..., :3].squeeze(), np.asarray(expected))


def test_floats_are_taken_by_one_rule_whatever_their_range(tmp_path: Path) -> None:
    """So that two images of a data set are not scaled in two ways."""
    stored = np.array([[[0.0, 1.0], [-3.0, 4000.0]]], np.float32)
    np.save(tmp_path / "a.npy", stored)
    np.testing.assert_array_equal(read_channels(tmp_path / "a.npy", 2), stored * 255)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((4, 5, 3), np.int16), "an array of int16; save it as"),
        (np.zeros((4, 5, 3), bool), "an array of bool"),
        (np.zeros((4, 5, 3), complex), "an array of complex128"),
        (np.array([[{}, 1]]), "an array of object"),
        (np.zeros((4, 5), [("a", "u1")]), r"an array of \[\('a', 'u1'\)\]"),
        (np.zeros((3, 4, 5), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((4, 5, 7), np.uint8), "has 7 channels, not 3: set data.channels=7"),
        (np.zeros((4, 5), np.uint8), r"has 1 channel \(grey\), not 3: set data.channels=1"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"the shape \(1, 4, 5, 3\); save it as \(height, width, channels\)"),
        (np.full((4, 5, 3), np.nan, np.float32), "60 of 60 values are not finite"),
        (np.full((4, 5, 3), 1e300), "60 of 60 values are not finite or too large"),
        (np.zeros(4, np.uint8), "NumPy array"),
        (np.zeros((0, 5, 3), np.uint8), "NumPy array"),
    ],
)
def test_an_array_of_something_else_is_one_sentence(tmp_path: Path, array: np.ndarray, words: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UserError, match=words) as caught:
        read_channels(tmp_path / "a.npy", 3)
    assert str(tmp_path / "a.npy") in str(caught.value)


def test_an_array_that_promises_more_than_its_file_holds(tmp_path: Path) -> None:
    """Nothing is made room for."""
    with (tmp_path / "a.npy").open("wb") as file:
        header = {"shape": (10_000, 10_000, 3), "descr": "<f4", "fortran_order": False}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(UserError, match="not a readable image"):
        read_channels(tmp_path / "a.npy", 3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".jpg"])
def test_damage_ends_as_one_sentence(tmp_path: Path, suffix: str) -> None:
    path, random = tmp_path / f"a{suffix}", np.random.default_rng(0)
    stored = draw(0, (40, 30, 3), "uint8")
    np.save(path, stored) if suffix == ".npy" else Image.fromarray(stored).save(path)
    whole = path.read_bytes()
    for _ in range(60):
        data = bytearray(whole[: random.integers(0, len(whole))] if random.random() < 0.3 else whole)
        for at in random.integers(0, min(200, len(data) + 1), 4):
            data[at : at + 1] = bytes([random.integers(0, 256)])
        path.write_bytes(data)
        with contextlib.suppress(UserError):
            assert read_channels(path, 3).shape[2] == 3


@pytest.mark.parametrize("channels", [0, -1, 129, 2.0, True, "3"])
def test_a_number_of_channels_that_no_image_has(tmp_path: Path, channels: int) -> None:
    with pytest.raises(UserError, match="a whole number from 1 to 128"):
        read_channels(tmp_path / "a.png", channels)
