"""The same class numbers from every container and palette; lossy ones are refused whatever they are called."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.data.files import read_mask
from rtseg.errors import UserError

PALETTES = {
    "grey ramp": [level for k in range(256) for level in (k, k, k)],
    "black and white": [0, 0, 0, 255, 255, 255] + [7, 7, 7] * 254,
    "white and black": [255, 255, 255, 0, 0, 0] + [7, 7, 7] * 254,
    "vivid": [0, 0, 0, 220, 20, 60, 0, 0, 142] + [10, 200, 30] * 253,
    "equal": [9, 9, 9] * 256,
}


def numbers(most: int, shape: tuple[int, int] = (5, 11)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most + 1, shape, np.uint8)


def bmp(mask: np.ndarray, bits: int, palette: list[int], *, top_down: bool = False, colors: int = 0) -> bytes:
    """A BMP with a palette, as the format's description has it."""
    height, width = mask.shape
    digits = np.unpackbits(mask[..., None], axis=-1)[..., 8 - bits :].reshape(height, width * bits)
    rows = np.packbits(np.pad(digits, ((0, 0), (0, -width * bits % 32))), axis=1)
    entries = colors or 2**bits
    table = b"".join(bytes([*palette[3 * k : 3 * k + 3][::-1], 0]) for k in range(entries))
    start = 54 + len(table)
    pixels = (rows if top_down else rows[::-1]).tobytes()
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, -height if top_down else height, 1, bits, 0, len(pixels), 0, 0, colors, 0
    )
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + info + table + pixels


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("bits", [1, 4, 8])
@pytest.mark.parametrize("top_down", [False, True])
def test_bmp_gives_the_index(tmp_path: Path, bits: int, palette: str, top_down: bool) -> None:
    mask = numbers(2**bits - 1)
    (tmp_path / "m.bmp").write_bytes(bmp(mask, bits, PALETTES[palette], top_down=top_down))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.bmp"), mask)


def test_bmp_of_two_colours_in_8_bits(tmp_path: Path) -> None:
    mask = numbers(1)
    (tmp_path / "m.bmp").write_bytes(bmp(mask, 8, PALETTES["black and white"], colors=2))
    np.testing.assert_array_equal(read_mask(tmp_path / "m.bmp"), mask)


@pytest.mark.parametrize("palette", PALETTES)
@pytest.mark.parametrize("kind", ["png", "tif", "gif"])
def test_a_palette_gives_the_index(tmp_path: Path, kind: str, palette: str) -> None:
    mask = numbers(2)
    picture = Image.fromarray(mask)
    picture.putpalette(PALETTES[palette])
    picture.save(tmp_path / f"m.{kind}", optimize=False)
    (tmp_path / f"m.{kind}").rename(tmp_path / "m.png")  # by content, not by name
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), mask)


@pytest.mark.parametrize("compression", ["raw", "group3", "group4", "packbits", "tiff_lzw", "tiff_deflate"])
def test_tiff_of_1_bit_holds_0_and_1(tmp_path: Path, compression: str) -> None:
    mask = numbers(1)
    Image.fromarray(mask * 255).convert("1").save(tmp_path / "m.tif", compression=compression)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), mask)


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_1_bit_holds_0_and_1(tmp_path: Path, kind: str) -> None:
    mask = numbers(1)
    Image.fromarray(mask * 255).convert("1").save(tmp_path / f"m.{kind}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{kind}"), mask)


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_16_bits_stay(tmp_path: Path, kind: str) -> None:
    mask = numbers(255).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"m.{kind}"), mask)
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{kind}"), mask)


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "webp"])
def test_colours_stay(tmp_path: Path, kind: str) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (5, 11, 3), np.uint8)
    Image.fromarray(mask).save(tmp_path / f"m.{kind}", lossless=True)
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{kind}"), mask)


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("JPEG", {}, "JPEG, which changes class numbers"),
        ("WEBP", {}, "lossy WebP, which changes class numbers"),
        ("TIFF", {"compression": "jpeg"}, "a TIFF with compression 7"),
        ("JPEG2000", {}, "no PNG, BMP, TIFF, GIF or lossless WebP"),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_lossy_content_is_refused_under_any_name(
    tmp_path: Path, kind: str, options: dict[str, str], says: str, suffix: str
) -> None:
    file = tmp_path / f"m{suffix}"
    Image.fromarray(numbers(39, (32, 48))).save(file, kind, **options)
    with pytest.raises(UserError, match=rf"m\{suffix}: not a readable label image \({says}.*save it as a PNG"):
        read_mask(file)


def test_a_tiff_whose_0_is_white_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "m.tif"
    Image.fromarray(numbers(9)).save(file, tiffinfo={262: 0})
    data = bytearray(file.read_bytes())
    at = data.find(struct.pack("<HHI", 262, 3, 1))
    data[at + 8] = 0
    file.write_bytes(data)
    with pytest.raises(UserError, match="0 is white"):
        read_mask(file)


def test_compressed_bmp_is_refused(tmp_path: Path) -> None:
    data = bytearray(bmp(numbers(9), 8, PALETTES["grey ramp"]))
    data[30] = 1  # run lengths
    (tmp_path / "m.bmp").write_bytes(data)
    with pytest.raises(UserError, match="a BMP of 8 bits with compression 1"):
        read_mask(tmp_path / "m.bmp")
