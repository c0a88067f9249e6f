"""TIFF in all layouts as RGB of 8 bits: the pixels that were written, or one sentence."""

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from rtseg.data.files import MAX_PIXELS, decode_image, read_image
from rtseg.data.tiff import upright
from rtseg.errors import UserError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (40, 56, 3), np.uint8)
RGB16 = RNG.integers(0, 65536, (40, 56, 3), np.uint16)
GREY, GREY16, BITS = RGB[..., 0], RGB16[..., 0], RGB[..., 0] > 100
GREY_ALPHA, RGBA = RGB[..., :2], np.dstack([RGB, RGB[..., 0]])
TABLE = RNG.integers(0, 256, (3, 256), np.uint16) * 257
ROUNDED = np.floor(RGB16 / 257 + 0.5).astype(np.uint8)
KINDS: dict[str, tuple[np.ndarray, dict[str, Any], np.ndarray]] = {
    "grey": (GREY, {"photometric": "minisblack"}, GREY),
    "white is 0": (GREY, {"photometric": "miniswhite"}, 255 - GREY),
    "1 bit": (BITS, {"photometric": "minisblack"}, BITS * np.uint8(255)),
    "1 bit, white is 0": (BITS, {"photometric": "miniswhite"}, 255 - BITS * np.uint8(255)),
    "grey 16": (GREY16, {"photometric": "minisblack"}, (GREY16 >> 8).astype(np.uint8)),
    "white is 0, 16": (GREY16, {"photometric": "miniswhite"}, 255 - (GREY16 >> 8).astype(np.uint8)),
    "grey, alpha": (GREY_ALPHA, {"photometric": "minisblack", "extrasamples": ["unassalpha"]}, GREY),
    "grey, another": (GREY_ALPHA, {"photometric": "minisblack", "extrasamples": ["unspecified"]}, GREY),
    "grey 16, alpha": (
        RGB16[..., :2], {"photometric": "minisblack", "extrasamples": ["assocalpha"]}, (GREY16 >> 8).astype(np.uint8),
    ),
    "RGB": (RGB, {"photometric": "rgb"}, RGB),
    "RGB 16": (RGB16, {"photometric": "rgb"}, ROUNDED),
    "alpha": (RGBA, {"photometric": "rgb", "extrasamples": ["unassalpha"]}, RGB),
    "multiplied by alpha": (RGBA, {"photometric": "rgb", "extrasamples": ["assocalpha"]}, RGB),
    "palette": (GREY, {"photometric": "palette", "colormap": TABLE}, (TABLE.T // 257).astype(np.uint8)[GREY]),
    "CMYK": (
        np.dstack([255 - RGB, np.zeros_like(GREY)]), {"photometric": "separated"}, RGB,
    ),
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "strips": {"rowsperstrip": 7},
    "big-endian": {"byteorder": ">"},
    "small tiles": {"tile": (16, 16)},
    "tiles beyond the edge": {"tile": (32, 48), "byteorder": ">"},
    "BigTIFF tiles": {"tile": (32, 32), "bigtiff": True},
    "deflate": {"compression": "adobe_deflate", "tile": (16, 32)},
    "LZMA": {"compression": "lzma"},
}


def check(path: Path, pixels: np.ndarray, expected: np.ndarray, **layout: Any) -> None:
    if layout.get("planarconfig") == "separate":
        pixels = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
    orientation = layout.pop("orientation", 1)
    tags = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(path, pixels, metadata=None, extratags=tags, **layout)
    expected = upright(expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1), orientation)
    for found in (read_image(path), decode_image(path, path.read_bytes(), MAX_PIXELS)):
        assert found.dtype == np.uint8
        assert found.flags.c_contiguous
        assert np.array_equal(found, expected), layout


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_are_those_that_were_written(tmp_path: Path, kind: str) -> None:
    pixels, called, expected = KINDS[kind]
    planes = [{"planarconfig": "contig"}, {"planarconfig": "separate"}] if pixels.ndim == 3 else [{}]
    for way in WAYS.values():
        for plane in planes:
            check(tmp_path / "a.tif", pixels, expected, **called, **way, **plane)
    for orientation in range(2, 9):
        check(tmp_path / "a.tif", pixels, expected, **called, tile=(16, 32), orientation=orientation)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "zstd", "tiff_deflate", "jpeg"])
def test_compressions_that_pillow_writes(tmp_path: Path, compression: str) -> None:
    for mode in ("RGB", "L", "CMYK", "P", "RGBA"):
        if (mode, compression) == ("P", "jpeg"):
            continue
        image = Image.fromarray(RGBA).convert(mode)
        image.save(tmp_path / "a.tif", compression=compression)
        with Image.open(tmp_path / "a.tif") as file:
            expected = np.asarray(file.convert("RGB")).astype(int)
        assert np.abs(read_image(tmp_path / "a.tif").astype(int) - expected).max() <= 1, mode


@pytest.mark.parametrize(
    ("tag", "value", "message"),
    [
        (259, 34712, r"compression 34712 is not read; save it with none, LZW"),
        (259, 50002, r"compression 50002 is not read"),
        (262, 1, r"3 channels that are not called RGB: set data.channels=3"),
        (262, 32803, r"a camera's mosaic is no RGB image"),
        (262, 4, r"photometric 4 is no RGB image"),
        (258, (8, 8, 16), r"8 and 16 bit values in RGB is not read"),
        (258, (4, 4, 4), r"4 bit values in RGB is not read"),
    ],
)
def test_what_no_reader_here_reads_is_refused(tmp_path: Path, tag: int, value: Any, message: str) -> None:
    for tile in (None, (16, 16)):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, RGB, photometric="rgb", metadata=None, tile=tile)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages.first.tags[tag].overwrite(value)
        with pytest.raises(UserError, match=message):
            read_image(path)


def test_channels_one_after_the_other_that_pillow_would_mix(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB.transpose(2, 0, 1), photometric="ycbcr", planarconfig="separate", tile=(16, 16))
    with pytest.raises(UserError, match="a TIFF of YCbCr, channels one after the other, is not read"):
        read_image(path)


def test_a_bigtiff_whose_next_page_lies_beyond_63_bits(tmp_path: Path) -> None:
    """struct meets such a place with another error than one behind the file."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack", metadata=None, bigtiff=True)
    data = bytearray(path.read_bytes())
    (page,) = struct.unpack_from("<Q", data, 8)
    struct.pack_into("<Q", data, page + 8 + 20 * data[page], 2**64 - 1)
    path.write_bytes(data)
    with suppress(UserError):  # OpenCV may read the first page all the same
        assert np.array_equal(read_image(path)[..., 0], GREY)


def test_a_cut_tiff_in_tiles(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for pixels, called, _ in (KINDS["grey 16"], KINDS["palette"]):
        tifffile.imwrite(path, pixels, metadata=None, tile=(16, 16), **called)
        data = path.read_bytes()
        for length in (len(data) - 2000, len(data) // 4, 60):
            path.write_bytes(data[:length])
            with pytest.raises(UserError):
                read_image(path)
