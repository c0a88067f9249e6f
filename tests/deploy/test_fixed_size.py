"""An exported file predicts as its checkpoint does, at the one size that it takes."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import rtseg
from rtseg.deploy.folder.image_files import Outputs
from rtseg.deploy.folder.predict_files import predict_files
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import Graph
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture
from tests.helpers.networks import SHAPE

SIZE = SHAPE[1:]
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize("size", [SIZE, (45, 60), (120, 170)])
def test_the_class_map_is_the_networks_at_the_files_size(
    shared_segmenter: Segmenter, logits_graph: Graph, class_map_graph: Graph, size: tuple[int, int]
) -> None:
    image = texture(size)
    resized = cv2.resize(image, SIZE[::-1], interpolation=cv2.INTER_LINEAR)
    with torch.inference_mode():
        expected = deploy(shared_segmenter)(torch.from_numpy(resized), size).numpy()
        nearest = deploy(shared_segmenter)(torch.from_numpy(resized)).numpy()
    classes = Predictor(logits_graph)(image)
    assert (classes == expected).mean() > 0.995
    assert (classes.dtype, classes.shape) == (np.uint8, size)
    classes = Predictor(class_map_graph)(image)
    assert (classes == cv2.resize(nearest, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)).mean() > 0.995
    assert (classes.dtype, classes.shape) == (np.uint8, size)


def test_a_file_is_loaded_and_says_its_size(
    logits_graph: Graph, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(logits_graph.model)
    predictor = rtseg.load(tmp_path / "net.onnx")
    assert predictor.card == logits_graph.card
    assert (predictor.fixed_size, predictor.device.type) == (SIZE, "cpu")
    Image.fromarray(texture((20, 30))).save(tmp_path / "a.png")
    assert predict_files(predictor, [tmp_path / "a.png"], tmp_path / "out") == {}
    assert "images are resized to 64x96" in capsys.readouterr().err
    Image.fromarray(texture(SIZE)).save(tmp_path / "b.png")
    assert predict_files(predictor, [tmp_path / "b.png"], tmp_path / "same") == {}
    assert "resized" not in capsys.readouterr().err
    ids = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert ids is not None
    assert set(np.unique(ids)) <= {*logits_graph.card.ids}


def test_margins_of_class_maps_are_refused_first(class_map_graph: Graph, tmp_path: Path) -> None:
    Image.fromarray(texture(SIZE)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="--margin needs logits"):
        predict_files(Predictor(class_map_graph), [tmp_path / "a.png"], tmp_path / "out", outputs=Outputs(margin=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("street.png", "an image, where a network is expected: give the network first"),
        ("street.mp4", "a film, where a network is expected"),
        ("net.bin", "the weights of an exported .xml file"),
        ("net.engine", "an engine's own form of a network.*rtseg export"),
        ("config.yaml", r"a configuration: give the best\.ckpt"),
    ],
)
def test_what_is_no_network_is_named(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        rtseg.load(name)
