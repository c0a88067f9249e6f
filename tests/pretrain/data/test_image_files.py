"""Every kind of image becomes RGB."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.data.imagenet import ImageFolder

GREY = Image.fromarray(np.arange(0, 250, 10, dtype=np.uint8).reshape(5, 5))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "RGBA", "I;16", "RGB"])
def test_every_kind_of_colour_becomes_rgb(own_animals: Path, mode: str) -> None:
    grey = GREY.point(lambda value: 255 * (value > 100)) if mode == "1" else GREY
    if mode == "CMYK":
        image = Image.merge("CMYK", (*[grey.point(lambda value: 255 - value)] * 3, Image.new("L", grey.size)))
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        image = grey.convert(mode)
    assert image.mode == mode
    file = own_animals / "train" / "cat" / "0.tif"
    image.save(file)
    with Image.open(file) as stored:
        assert stored.mode == mode
    found, label, skipped = ImageFolder(own_animals, "train").read(0)
    assert (found.mode, label, skipped) == ("RGB", 0, 0)
    assert np.array_equal(np.asarray(found), np.asarray(grey.convert("RGB")))


def test_transparent_palettes_become_rgb(own_animals: Path, recwarn: pytest.WarningsRecorder) -> None:
    GREY.convert("P").save(own_animals / "train" / "cat" / "0.png", transparency=bytes(range(256)))
    found, _, _ = ImageFolder(own_animals, "train").read(0)
    assert np.array_equal(np.asarray(found), np.asarray(GREY.convert("RGB")))
    assert not recwarn.list


def test_a_photograph_with_its_preview_is_one_image(own_animals: Path) -> None:
    first = Image.new("RGB", (32, 24), (200, 0, 0))
    file = own_animals / "train" / "cat" / "0.jpg"
    first.save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))])
    assert ImageFolder(own_animals, "train").read(0)[0].size == (32, 24)
