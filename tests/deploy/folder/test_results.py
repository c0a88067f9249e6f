"""What `rtseg predict` writes: class maps that every library reads as ids, colours, a legend."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFont

from rtseg.data.files import read_mask
from rtseg.deploy.drawing.overlay import overlay
from rtseg.deploy.folder.legend import draw_legend, shares_sentence, shorten
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture


def written(segmenter: Segmenter, folder: Path) -> tuple[Predictor, np.ndarray]:
    """The predictor, and the classes of the image `a.png` whose results are in the folder `out`."""
    Image.fromarray(texture((45, 60))).save(folder / "a.png")
    predictor = Predictor(segmenter, device="cpu")
    assert predict_files(predictor, [folder / "a.png"], folder / "out") == {}
    return predictor, predictor(texture((45, 60)))


@pytest.mark.parametrize("ids", [(7, 8, 11, 255, 0), (7, 8, 11, 300, 12), ()])
def test_the_class_map_has_the_ids_in_every_library(segmenter: Segmenter, tmp_path: Path, ids: tuple[int, ...]) -> None:
    segmenter.card = replace(segmenter.card, ids=ids)
    predictor, classes = written(segmenter, tmp_path)
    expected = predictor.to_ids(classes)
    class_map, colours = tmp_path / "out" / "a.png", tmp_path / "out" / "a_colour.png"
    for flag in (cv2.IMREAD_UNCHANGED, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH):
        pixels = cv2.imread(str(class_map), flag)
        assert pixels is not None
        assert np.array_equal(pixels, expected)
    assert np.array_equal(np.asarray(Image.open(class_map)), expected)
    assert np.array_equal(read_mask(class_map), expected)
    with Image.open(colours) as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), expected if max(ids, default=0) < 256 else classes)
        assert np.array_equal(np.asarray(image.convert("RGB")), np.array(predictor.palette, np.uint8)[classes])


def test_outlines_show_a_dark_colour_on_a_dark_image() -> None:
    image, palette = np.full((800, 900, 3), 20, np.uint8), ((0, 0, 0), (10, 10, 30))
    classes = np.zeros((800, 900), np.uint8)
    classes[200:400, 200:400] = 1
    shown = overlay(image, classes, palette, outlines=True)
    white = (shown == 255).all(-1)
    assert white[200:400, 199].all()
    assert white[399, 210:390].all()
    assert 0 < white.sum() < 4 * 200 * 3
    assert (shown[~white] == overlay(image, classes, palette)[~white]).all()
    assert (overlay(image, classes, palette, 0, outlines=True) == image).all()


def test_the_legend_has_every_class_its_colour_and_its_share() -> None:
    names = ["road", "car \x1b[31m", "sky", "sign"]
    palette = ((128, 64, 128), (0, 0, 142), (70, 130, 180), (220, 220, 0))
    pixels = [700, 299_300, 0, 700_000]
    drawn = np.asarray(draw_legend(names, palette, pixels)).reshape(-1, 3)
    for color in palette:
        assert (drawn == color).all(-1).sum() > 300
    assert shares_sentence(names, pixels) == r"sign 70.0 %, car \x1b[31m 29.9 %, road 0.1 %; not found: sky"
    many = [f"class {k}" for k in range(200)]
    assert draw_legend(many, ((1, 2, 3),) * 200, [1] * 200).width < 2000
    said = shares_sentence(many, [*range(100, 0, -1), *[0] * 100])
    assert said.startswith("class 0 2.0 %, class 1 2.0 %")
    assert "92 others 84.7 %; not found: class 100" in said
    assert said.endswith("class 107 and 92 more")


@pytest.mark.parametrize(
    ("name", "drawn"), [("Bäume", "Baume"), ("Straße", "Strasse"), ("路 a", "? a"), ("a" * 50, "a" * 39 + "…")]
)
def test_the_font_has_every_letter_of_a_drawn_name(name: str, drawn: str) -> None:
    font = ImageFont.load_default(16)
    missing = bytes(font.getmask("\ue000"))
    assert shorten(name) == drawn
    assert all(bytes(font.getmask(letter)) != missing for letter in f"{drawn}-")
