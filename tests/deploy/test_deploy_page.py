"""The code of docs/deploy.md, which has neither rtseg nor PyTorch, gives the class maps of `rtseg.load`."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from rtseg.deploy.graph import Graph
from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.exports import write_proven
from tests.helpers.networks import SHAPE

pytest.importorskip("onnxruntime")
PAGE = Path(__file__).parents[2] / "docs" / "deploy.md"


def run_page(folder: Path, graph: Graph, image: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The variables of the page's code after it has segmented an image."""
    (folder / "net.onnx").write_bytes(graph.model)
    Image.fromarray(image).save(folder / "street.png")
    code = re.search(r"```python\n# segment\.py\n(.*?)```", PAGE.read_text(), re.S)
    assert code is not None
    assert not re.search(r"\b(rtseg|torch|cv2)\b", code[1].replace('["rtseg"]', ""))
    monkeypatch.chdir(folder)
    scope: dict[str, Any] = {}
    exec(code[1], scope)
    return scope


def test_its_class_map_is_that_of_the_checkpoint(
    shared_segmenter: Segmenter, logits_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = texture(SHAPE[1:])
    scope = run_page(tmp_path, logits_graph, image, monkeypatch)
    for network in (shared_segmenter, logits_graph):
        predictor = Predictor(network, device="cpu")
        expected = predictor(image)
        assert len(np.unique(expected)) > 1
        assert (scope["classes"] == expected).mean() >= 0.999
        assert (scope["ids"] == predictor.to_ids(expected)).mean() >= 0.999
    assert scope["names"] == [logits_graph.card.class_names[k] for k in np.unique(scope["classes"])]
    swapped = Predictor(logits_graph)(np.ascontiguousarray(image[..., ::-1]))
    assert (scope["classes"] == swapped).mean() < 0.999  # so that the test would see another order of colours


@pytest.mark.parametrize("size", [(45, 60), (150, 170)])
def test_images_of_other_sizes_are_resized_as_by_rtseg(
    logits_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    image = texture(size)
    scope = run_page(tmp_path, logits_graph, image, monkeypatch)
    assert (scope["classes"] == Predictor(logits_graph)(image)).mean() >= 0.98  # OpenCV rounds levels otherwise


def test_names_stand_for_open_sizes(logits_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    proto = onnx.load_model_from_string(logits_graph.model)
    for axis, name in ((1, "height"), (2, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    image = texture(SHAPE[1:])
    scope = run_page(tmp_path, replace(logits_graph, model=proto.SerializeToString()), image, monkeypatch)
    assert scope["height"] == "height"
    assert (scope["classes"] == Predictor(logits_graph)(image)).mean() >= 0.999


def test_a_card_that_says_twice_is_upsampled_twice(
    shared_segmenter: Segmenter, logits_graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = replace(logits_graph, card=replace(logits_graph.card, upsampling="twice"))
    file = write_proven(tmp_path, twice, None)
    said = json.loads(onnx.load(file).metadata_props[0].value)
    assert said["upsampling"]["to"] == "the size that the file sees, then the size of the image"
    image = texture((128, 192))
    scope = run_page(tmp_path, replace(twice, model=file.read_bytes()), image, monkeypatch)
    found, once = scope["classes"], Predictor(logits_graph)(image)
    assert (found == Predictor(twice)(image)).mean() > (found == once).mean()
