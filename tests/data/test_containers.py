"""Label files and images in unusual containers: the numbers and colours that were written, or a refusal."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from rtseg.data.files import read_image, read_mask
from rtseg.deploy.rgb import to_rgb
from rtseg.errors import UserError

IDS = np.random.default_rng(0).integers(0, 40, (11, 13)).astype(np.uint8)
RGB = np.random.default_rng(1).integers(0, 256, (11, 13, 3)).astype(np.uint8)


@pytest.mark.parametrize("compression", [None, "lzma", "zstd", "packbits", "tiff_lzw"])
def test_numbers_of_a_compressed_tiff(tmp_path: Path, compression: str | None) -> None:
    Image.fromarray(IDS).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), IDS)


@pytest.mark.parametrize(
    "options",
    [
        {"tile": (16, 16)},
        {"planarconfig": "separate"},
        {"byteorder": ">"},
        {"bigtiff": True},
        {"compression": "deflate", "predictor": True},
    ],
)
def test_colours_of_a_tiff_are_not_multiplied_by_their_alpha(tmp_path: Path, options: dict[str, Any]) -> None:
    """As OpenCV does it."""
    stored = np.dstack([RGB, np.full((11, 13), 100, np.uint8)])
    written = stored.transpose(2, 0, 1) if "planarconfig" in options else stored
    tifffile.imwrite(
        tmp_path / "a.tif", np.ascontiguousarray(written), photometric="rgb", extrasamples=["unassalpha"], **options
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), stored)


def test_alpha_beside_numbers_is_not_looked_at(tmp_path: Path) -> None:
    stored = np.stack([IDS, np.full_like(IDS, 128)], -1)
    tifffile.imwrite(
        tmp_path / "a.tif", stored, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif"), IDS)


def several(path: Path, **options: Any) -> None:
    frames = [Image.fromarray(RGB if path.suffix == ".webp" else IDS) for _ in range(2)]
    frames[1].paste(0, (0, 0, 5, 5))
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.tif", {}), ("a.gif", {}), ("a.webp", {"lossless": True}), ("a.webp", {"quality": 50})],
)
def test_several_frames_are_no_label_file(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    """A lossy one may hide in a frame."""
    several(tmp_path / name, **options)
    with pytest.raises(UserError, match=r"frames|pages") as caught:
        read_mask(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint32", "float32"])
def test_other_numbers_are_refused_as_labels(tmp_path: Path, dtype: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", IDS.astype(dtype))
    with pytest.raises(UserError, match="save it as a PNG of 8 or 16 bit class numbers"):
        read_mask(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (IDS.astype(np.int16), "a TIFF of values with a sign is no RGB image: set data.channels"),
        (IDS.astype(np.float32), "a TIFF of floats"),
        (np.zeros((11, 13, 5), np.uint8), "a TIFF of 5 channels"),
    ],
)
def test_an_image_that_is_not_rgb_names_data_channels(tmp_path: Path, array: np.ndarray, words: str) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig" if array.ndim == 3 else None
    )
    with pytest.raises(UserError, match=words):
        read_image(tmp_path / "a.tif")


def test_an_image_of_several_pages_is_refused(tmp_path: Path) -> None:
    several(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"a.tif: a TIFF of 2 pages; save each page as a file of its own"):
        read_image(tmp_path / "a.tif")


def test_jpeg_2000_of_ycbcr_is_refused(tmp_path: Path) -> None:
    """OpenCV and Pillow give colours 22 levels apart."""
    Image.fromarray(RGB).convert("YCbCr").save(tmp_path / "a.jp2")
    (tmp_path / "a.jp2").rename(tmp_path / "a.png")
    with pytest.raises(UserError, match="a JPEG 2000 image of YCbCr"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha", "unspecified"])
@pytest.mark.parametrize(
    "options", [{}, {"planarconfig": "separate"}, {"tile": (16, 16), "compression": "zlib"}, {"bigtiff": True},
                {"byteorder": ">", "rowsperstrip": 3}],
)  # fmt: skip
def test_an_image_with_alpha_is_the_colours_of_its_file(tmp_path: Path, alpha: str, options: dict[str, Any]) -> None:
    stored = np.random.default_rng(0).integers(0, 256, (20, 24, 4)).astype(np.uint8)
    planes = stored.transpose(2, 0, 1) if "planarconfig" in options else stored
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", extrasamples=[alpha], **options)
    tifffile.imwrite(tmp_path / "b.tif", planes.astype(np.uint16) * 257, photometric="rgb", extrasamples=[alpha],
                     **options)  # fmt: skip
    Image.fromarray(stored).save(tmp_path / "a.png")
    for name in ("a.tif", "b.tif", "a.png"):
        assert np.array_equal(read_image(tmp_path / name), stored[..., :3]), name
    if alpha != "assocalpha" and "planarconfig" not in options:  # Pillow divides by the one, and lacks the other
        with Image.open(tmp_path / "a.tif") as file:
            assert np.array_equal(to_rgb(file), stored[..., :3])


def test_a_large_tiff_with_alpha_is_the_colours_of_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rtseg.data.files._LARGE", 4)
    stored = np.full((4, 5, 4), 100, np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unassalpha"])
    assert np.array_equal(read_image(tmp_path / "a.tif"), stored[..., :3])
