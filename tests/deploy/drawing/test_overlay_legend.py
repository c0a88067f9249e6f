"""Colours that can be told apart in overlays, and the strip that names the classes in one."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtseg.data.ade20k import LABELS as ADE
from rtseg.data.camvid import LABELS as CAMVID
from rtseg.data.cityscapes import LABELS as CITYSCAPES
from rtseg.data.dataset import default_palette
from rtseg.deploy.drawing.overlay import Palette
from rtseg.deploy.drawing.overlay_colors import DARKEST, distinct_colors
from rtseg.deploy.drawing.overlay_legend import OverlayLegend
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.legend import draw_legend
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture


def distances(palette: Palette) -> tuple[float, float]:
    """The least CIELAB distance of two colours, and the least lightness."""
    lab = cv2.cvtColor(np.asarray(palette, np.float32)[:, None] / 255, cv2.COLOR_RGB2LAB)[:, 0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return float(apart[~np.eye(len(lab), dtype=bool)].min()), float(lab[:, 0].min())


@pytest.mark.parametrize(
    ("palette", "distance"),
    [
        (CAMVID.palette, 30),
        (CITYSCAPES.palette, 30),
        (default_palette(60), 20),
        (ADE.palette, 15),
        ([(0, 0, 0)] * 9, 30),
    ],
)
def test_colours_are_bright_and_apart(palette: Palette, distance: float) -> None:
    colors = distinct_colors(palette)
    apart, darkest = distances(colors)
    assert apart >= distance - 0.01
    assert darkest >= DARKEST - 0.01


def test_a_colour_that_is_bright_and_apart_is_kept() -> None:
    palette = [(60, 0, 0), (220, 220, 0), (255, 0, 0), (224, 222, 0), (0, 190, 255)]
    colors = distinct_colors(palette)
    assert [k for k in range(5) if tuple(colors[k]) == palette[k]] == [1, 2, 4]
    assert distinct_colors([]) == []
    assert len(distinct_colors([(1, 2, 3)] * 400)) == 400, "where there is no room, colours repeat"


def strip_of(legend: OverlayLegend, height: int, width: int, pixels: list[int]) -> np.ndarray:
    strip = np.zeros((legend.height(height, width), width, 3), np.uint8)
    legend.draw(strip, pixels)
    return strip


def test_the_strip_shows_the_classes_that_are_there_and_no_others() -> None:
    colors = distinct_colors(CAMVID.palette)
    legend = OverlayLegend(CAMVID.names, colors)
    strip = strip_of(legend, 360, 480, [9, 0, 3, 400, 0, 0, 0, 0, 0, 2, 0])
    found = {k for k, color in enumerate(colors) if (strip == color).all(-1).sum() > 30}
    assert found == {0, 2, 3, 9}
    assert strip.shape[0] < 360 / 8
    assert strip_of(legend, 360, 480, [1] * 11).shape == strip.shape, "frames of a film have one size"
    assert (strip_of(legend, 360, 480, [0] * 11) == 255).all()


def test_the_rarest_are_counted_where_there_is_no_room() -> None:
    colors = distinct_colors(ADE.palette)
    legend = OverlayLegend(ADE.names, colors)
    strip = strip_of(legend, 512, 512, list(range(150, 0, -1)))
    found = {k for k, color in enumerate(colors) if (strip == color).all(-1).sum() > 30}
    assert {0, 1, 2, 3, 4, 5, 6, 7} <= found
    assert max(found) < 40
    assert strip.shape[0] <= 3 * 512 // 30


@pytest.mark.parametrize(("height", "width"), [(45, 60), (360, 50), (20, 2000), (65_490, 200)])
def test_images_that_are_too_small_or_too_tall_have_none(height: int, width: int) -> None:
    assert OverlayLegend(CAMVID.names, CAMVID.palette).height(height, width) == 0


def test_the_overlay_has_it_and_the_class_map_has_not(segmenter: Segmenter, tmp_path: Path) -> None:
    Image.fromarray(texture((80, 160))).save(tmp_path / "a.png")
    segmenter.card = replace(segmenter.card, palette=((10, 0, 0), (0, 10, 0), (0, 0, 10), (9, 9, 0), (0, 9, 9)))
    predictor = Predictor(segmenter, device="cpu")
    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out")
    predict_files(predictor, [tmp_path / "a.png"], tmp_path / "plain", outputs=Outputs(alpha=0))
    sizes = {path.name: Image.open(path).size for path in sorted((tmp_path / "out").glob("a*"))}
    extra = sizes["a_overlay.jpg"][1] - 80
    assert sizes == {"a.png": (160, 80), "a_colour.png": (160, 80), "a_overlay.jpg": (160, 80 + extra)}
    assert extra > 0
    assert Image.open(tmp_path / "plain" / "a_overlay.jpg").size == (160, 80)


def test_the_legend_of_all_shows_both_colours_where_they_differ() -> None:
    names, pixels = ["road", "car"], [3, 1]
    palette, bright = ((10, 0, 0), (0, 200, 0)), ((255, 0, 0), (0, 200, 0))
    drawn = np.asarray(draw_legend(names, palette, pixels, distinct_colors(palette)))
    for color in (*palette, *distinct_colors(palette)):
        assert (drawn == color).all(-1).sum() > 300
    alone = draw_legend(names, bright, pixels, bright)
    assert drawn.shape[0] > alone.height == draw_legend(names, palette, pixels).height


def test_class_maps_alone(segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(texture((24, 32))).save(tmp_path / "a.png")
    predictor, out, alone = Predictor(segmenter, device="cpu"), tmp_path / "out", Outputs(overlays=False)

    def files() -> list[str]:
        return sorted(path.name for path in out.iterdir() if not path.name.startswith("."))

    predict_files(predictor, [tmp_path / "a.png"], out, outputs=alone)
    assert files() == ["a.png", "predictions.jsonl"]
    said = capsys.readouterr().out
    assert "NAME.png: the class map" in said
    assert "colour" not in said
    predict_files(predictor, [tmp_path / "a.png"], out, resume=True)
    assert files() == ["a.png", "a_colour.png", "a_overlay.jpg", "legend.png", "predictions.jsonl"]
    predict_files(predictor, [tmp_path / "a.png"], out, resume=True, outputs=alone)
    assert len(files()) == 5, "what is whole is kept"
    predict_files(predictor, [tmp_path / "a.png"], out, overwrite=True, outputs=alone)
    assert files() == ["a.png", "predictions.jsonl"], "no overlay and no legend of another network stays"
