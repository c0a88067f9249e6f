"""Files of class maps with margins, loaded: class maps as of any file, and margins that are the file's own."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rtseg
from rtseg.cli import main
from rtseg.deploy.engines.torch_export import TorchExport
from rtseg.deploy.exports.build import exports
from rtseg.deploy.exports.command import write_graph
from rtseg.deploy.exports.proof import Proof
from rtseg.deploy.exports.proving import prove
from rtseg.deploy.exports.read import read_graph
from rtseg.deploy.exports.verify import agreement
from rtseg.deploy.graph import OPEN, Format, OpenShape
from rtseg.deploy.predictor import Predictor
from rtseg.errors import UserError
from rtseg.scenes import draw_scene
from tests.helpers.networks import SHAPE, OneConvolution

IMAGE = draw_scene(np.random.default_rng(3), SHAPE[1:])[0]
LIBRARIES = {"onnx": "onnxruntime", "xml": "openvino", "mnn": "MNN", "pt2": "torch"}


@pytest.fixture(scope="module")
def proof() -> Proof:
    return prove(OneConvolution(), SHAPE, output="class_map_margin")


@pytest.fixture(scope="module")
def file(proof: Proof, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of one size, in the format that is written the fastest."""
    path = tmp_path_factory.mktemp("margin") / "net.pt2"
    write_graph(path, next(exports(OneConvolution(), SHAPE, "class_map_margin", ["pt2"], proof)))
    return path


@pytest.fixture(scope="module")
def network() -> Predictor:
    return Predictor(OneConvolution(), engine="reference", device="cpu")


def test_class_map_and_margin_are_the_networks(file: Path, network: Predictor) -> None:
    predictor, expected = rtseg.load(file), network.predict(IMAGE)
    found = predictor.predict(IMAGE)
    assert found.class_map.dtype == np.uint8
    assert (found.class_map == expected.class_map).mean() >= 0.9999
    np.testing.assert_allclose(found.margin, expected.margin, atol=1e-5)
    assert np.array_equal(predictor(IMAGE), found.class_map)
    with pytest.raises(UserError, match="there is no probability: the logits are not known"):
        _ = found.probability


def test_of_another_size_there_is_no_margin(file: Path, network: Predictor) -> None:
    found = rtseg.load(file).predict(IMAGE[:50, :70])
    assert found.class_map.shape == (50, 70)
    with pytest.raises(UserError, match="no margin for an image of 50x70: the file saw it at 64x96"):
        _ = found.margin


def test_verify_compares_the_margins(file: Path, proof: Proof) -> None:
    graph, samples = read_graph(file), proof.samples
    assert samples is not None
    assert agreement("torch-export", graph, proof).is_right
    wrong = agreement("torch-export", graph, replace(proof, samples=replace(samples, values=samples.values[::-1])))
    assert not wrong.is_right
    assert wrong.equal_percent == 100
    assert re.fullmatch(r"100.000 % equal \(99.99 % needed\), margin off by .* \(0.001 allowed\)", str(wrong))


def test_windows_have_none(file: Path) -> None:
    with pytest.raises(UserError, match=r"windows are averaged by their logits, and .* puts out none"):
        rtseg.load(file, tile=SHAPE[1:])


def test_predict_writes_the_files_margins(
    file: Path, network: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the size that the file sees; another image is refused, and the others are written."""
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(IMAGE).save(images / "a.png")
    Image.fromarray(IMAGE[:50]).save(images / "b.png")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(file), str(images), "-o", str(tmp_path / "out"), "--margin", "--no-overlay"])
    assert end.value.code == 1
    assert "no margin for an image of 50x96" in " ".join(capsys.readouterr().err.split())
    margin = np.asarray(Image.open(tmp_path / "out" / "a_margin.png"))
    np.testing.assert_allclose(margin, 1000 * network.predict(IMAGE).margin, atol=0.51)
    assert not [path.name for path in (tmp_path / "out").iterdir() if path.name.startswith("b")]


def test_without_an_engine_the_file_is_refused_when_it_is_loaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with each image."""
    monkeypatch.setattr(TorchExport, "libraries", {"no_such_module": "rtseg[it]"})
    with pytest.raises(UserError, match=r"no_such_module is missing here .* pip install 'rtseg\[it\]'"):
        rtseg.load(file)


@pytest.mark.slow  # two exports
@pytest.mark.parametrize("shape", [OPEN, (2, *SHAPE[1:])], ids=["open", "two"])
def test_every_format(network: Predictor, shape: OpenShape) -> None:
    formats: list[Format] = []
    for format, library in LIBRARIES.items():
        try:
            __import__(library)
            formats.append(format)  # type: ignore[arg-type]
        except ImportError:
            continue
    for graph in exports(OneConvolution(), shape, "class_map_margin", formats):
        images = [IMAGE, np.ascontiguousarray(IMAGE[:, ::-1]), np.ascontiguousarray(IMAGE[::-1])]
        for engine in ["auto", *(name for name in ("onnxruntime", "openvino", "mnn") if graph.format == "onnx")]:
            predictor = Predictor(graph, engine=engine)
            for image, batched in zip(images, predictor.batch(images), strict=True):
                found, expected = predictor.predict(image), network.predict(image)
                assert np.array_equal(batched, found.class_map), graph.format
                assert (found.class_map == expected.class_map).mean() >= 0.9999, graph.format
                np.testing.assert_allclose(found.margin, expected.margin, atol=5e-3 if engine == "mnn" else 1e-4)
        assert predictor.runner.margin(torch.from_numpy(np.stack(images)))[1].shape == (3, *SHAPE[1:])
        assert Predictor(replace(graph, name="it")).runner.puts_out_margins
