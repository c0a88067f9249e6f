"""Files are looked at before a training: what is cut, empty or gone is named, what is odd and whole passes."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.intact import check_images_usable, check_readable, seems_whole
from rtseg.errors import UserError

SUFFIXES = (".png", ".jpg", ".bmp", ".webp", ".tif")


@pytest.fixture
def pairs(tmp_path: Path) -> list[tuple[Path, Path]]:
    """Eight, with images in five formats."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)
    found = []
    for k in range(8):
        image, mask = tmp_path / f"{k}{SUFFIXES[k % 5]}", tmp_path / f"{k}_mask.png"
        cv2.imwrite(str(image), noise)
        cv2.imwrite(str(mask), noise[..., 0] % 3)
        found.append((image, mask))
    return found


def test_whole_files_pass(pairs: list[tuple[Path, Path]]) -> None:
    assert check_readable(pairs) == 8
    assert [seems_whole(image) for image, _ in pairs[:5]] == [True, True, True, True, False]  # TIFF is read


@pytest.mark.parametrize("k", range(5))
def test_a_cut_file_is_named(pairs: list[tuple[Path, Path]], k: int) -> None:
    image = pairs[k][0]
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"1 of 16 image and label files cannot be used.*\n  .*{image.name}"):
        check_readable(pairs)


def test_what_stands_behind_the_end_does_no_harm(pairs: list[tuple[Path, Path]]) -> None:
    for image, mask in pairs:
        for file in (image, mask):
            file.write_bytes(file.read_bytes() + bytes(10_000))
    assert check_readable(pairs) == 8


def test_the_first_of_many_are_named(pairs: list[tuple[Path, Path]]) -> None:
    for _, mask in pairs:
        mask.write_bytes(b"")
    pairs[0][0].unlink()
    with pytest.raises(UserError, match="9 of 16 image and label files") as error:
        check_readable(pairs)
    assert str(error.value).endswith("\n  and 4 more")
    assert str(error.value).count("\n") == 6


def test_it_stops_in_time(pairs: list[tuple[Path, Path]]) -> None:
    assert check_readable(pairs * 100, seconds=0) == 0


def test_images_of_another_size_than_stated_are_named(pairs: list[tuple[Path, Path]]) -> None:
    sizes = {image: (40, 56) for image, _ in pairs}
    assert check_images_usable(sizes) == 8
    with pytest.raises(UserError, match=r"1 of 8 image files .*\n.*3\.webp is 40x56 .*are for 56x40"):
        check_images_usable(sizes | {pairs[3][0]: (56, 40)})
