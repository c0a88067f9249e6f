"""A predictor with windows: what it computes, what it refuses, and how much memory it takes."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtseg.data.files import MAX_PIXELS
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.graph import Graph
from rtseg.deploy.predictor import Predictor
from rtseg.deploy.windows.tiles import tiled_class_map
from rtseg.deploy.windows.tiling import Tiling, tiling
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture

TILES = Tiling((64, 96), (16, 16))
IMAGE = texture((150, 230))


def predictor(network: Segmenter | Graph, tiles: Tiling | None = TILES, engine: str = "eager") -> Predictor:
    return Predictor(network, engine=engine, device="cpu", tiles=tiles)


def test_windows_are_what_the_network_sees_of_each(shared_segmenter: Segmenter) -> None:
    whole = predictor(shared_segmenter, None)
    expected = tiled_class_map(lambda window: whole.logits(window), IMAGE, TILES)
    found = predictor(shared_segmenter)(IMAGE)
    assert np.array_equal(found, expected)
    assert (found != whole(IMAGE)).any()  # attention is within a window


def test_an_image_within_one_window_is_seen_as_without(shared_segmenter: Segmenter) -> None:
    image = IMAGE[:60, :96]
    assert np.array_equal(predictor(shared_segmenter)(image), predictor(shared_segmenter, None)(image))


def test_images_keep_their_size(segmenter: Segmenter) -> None:
    """Also where evaluation resizes: what the windows are for would be lost."""
    plain = predictor(segmenter)
    segmenter.card = replace(segmenter.card, eval_resize=(32, 64))
    resizing = predictor(segmenter)
    assert np.array_equal(resizing(IMAGE), plain(IMAGE))
    assert np.array_equal(resizing(IMAGE[:50]), plain(IMAGE[:50]))
    assert resizing.identity == plain.identity


def test_an_exported_file_takes_windows_of_its_size(logits_graph: Graph, shared_segmenter: Segmenter) -> None:
    pytest.importorskip("onnxruntime")
    found = predictor(logits_graph, engine="onnxruntime")(IMAGE)
    assert (found == predictor(shared_segmenter)(IMAGE)).mean() > 0.999
    with pytest.raises(UserError, match=r"--tile 64 64: the exported graph takes no such windows\. Give --tile 64 96"):
        predictor(logits_graph, Tiling((64, 64), (8, 8)))
    with pytest.raises(UserError, match="60 pixels high, and the exported file takes windows of 64"):
        predictor(logits_graph, engine="onnxruntime")(IMAGE[:60])


def test_a_file_of_class_maps_has_nothing_to_average(class_map_graph: Graph) -> None:
    with pytest.raises(UserError, match="without --result"):
        predictor(class_map_graph, engine="onnxruntime-plain")


def test_batches_and_engines_are_of_windows(shared_segmenter: Segmenter) -> None:
    tiled = predictor(shared_segmenter)
    for one, found in zip((IMAGE, IMAGE[:, :80]), tiled.batch([IMAGE, IMAGE[:, :80]]), strict=True):
        assert np.array_equal(found, tiled(one))
    assert tiled.explain(IMAGE).engine == "eager"


def test_a_prediction_through_windows_has_areas_and_no_margin(shared_segmenter: Segmenter) -> None:
    prediction = predictor(shared_segmenter).predict(IMAGE)
    assert np.array_equal(prediction.class_map, predictor(shared_segmenter)(IMAGE))
    assert sum(area.pixels for area in prediction.areas) == prediction.class_map.size
    with pytest.raises(UserError, match="there is no margin"):
        _ = prediction.margin
    assert predictor(shared_segmenter).predict(IMAGE[:50, :90]).margin.shape == (50, 90)


def test_results_of_other_windows_are_not_resumed(shared_segmenter: Segmenter, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "street.png"), IMAGE)
    out = tmp_path / "out"
    assert predict_files(predictor(shared_segmenter), [tmp_path / "street.png"], out) == {}
    for tiles in (None, tiling((64, 96), 8), tiling((96, 96), 16)):
        with pytest.raises(UserError, match=r"otherwise: images in|otherwise: windows of .*; now: .*--tile"):
            predict_files(predictor(shared_segmenter, tiles), [tmp_path], out, resume=True)
    assert predict_files(predictor(shared_segmenter), [tmp_path / "street.png"], out, resume=True) == {}


def test_larger_images_are_read_with_windows(shared_segmenter: Segmenter, tmp_path: Path) -> None:
    """Only their headers are looked at here: they are too large."""
    row = np.zeros((1, 10), np.uint8)
    encoded = bytearray(cv2.imencode(".bmp", row)[1].tobytes())
    for name, pixels in (("whole", 2**26 + 1), ("windows", MAX_PIXELS + 1)):
        encoded[18:26] = np.array([2**13, -(-pixels // 2**13)], "<u4").tobytes()
        (tmp_path / f"{name}.bmp").write_bytes(encoded)
    for tiles, most in ((None, "67,108,864"), (TILES, "178,956,970")):
        failed = predict_files(predictor(shared_segmenter, tiles), [tmp_path], tmp_path / "out", overwrite=True)
        assert f"more than the limit of {most}" in failed[tmp_path / "windows.bmp"]
        assert ("limit" in failed[tmp_path / "whole.bmp"]) == (tiles is None)
