"""Class maps with their margins in every format; equal exports have equal bytes; nothing is half-written."""

import html
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import rtseg
from rtseg.deploy.exports.build import export
from rtseg.deploy.exports.command import export_file
from rtseg.deploy.exports.verify import engines_of, run_graph
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import OPEN, Format
from rtseg.errors import UserError
from rtseg.models.model_card import ModelCard
from rtseg.models.segmenter import Segmenter
from rtseg.scenes import draw_scene
from tests.helpers.networks import SHAPE, OneConvolution

FORMATS: tuple[Format, ...] = ("onnx", "xml", "mnn", "pt2")
QUICK = [format if format == "pt2" else pytest.param(format, marks=pytest.mark.slow) for format in FORMATS]


def engines(format: Format) -> list[str]:
    pytest.importorskip({"onnx": "onnxruntime", "xml": "openvino", "mnn": "MNN", "pt2": "torch"}[format])
    return engines_of(format)


def images(shape: tuple[int, int, int]) -> Tensor:
    drawn, _ = draw_scene(np.random.default_rng(1), (max(48, shape[1]), max(48, shape[2])))
    return torch.from_numpy(np.stack([np.roll(drawn, 11 * i, 1)[: shape[1], : shape[2]] for i in range(shape[0])]))


@pytest.mark.parametrize("format", QUICK)
def test_a_class_map_with_its_margin(format: Format) -> None:
    backends = engines(format)
    network = OneConvolution()
    graph = export(network, OPEN, "class_map_margin", format)
    assert graph.output == "class_map_margin"
    said = f'"dtype": "{"int32" if format == "mnn" else "int64"}", "meaning": "class numbers'
    assert said in html.unescape(graph.model.decode(errors="replace"))
    with torch.inference_mode():
        deployed = deploy(network, fold=False)
        for shape in ((1, 33, 47), (3, 64, 40)):
            given = images(shape)
            logits = deployed.logits(deployed.prepare(given)).double()
            upsampled = F.interpolate(logits, size=shape[1:], mode="bilinear", align_corners=False)
            best, second = upsampled.topk(2, 1).values.unbind(1)
            for backend in backends:
                classes, margin = run_graph(backend, graph, given)
                assert classes.dtype == (np.int32 if backend in ("mnn", "mnn-small-tiles") else np.int64)
                assert (classes == upsampled.argmax(1).numpy()).mean() >= 0.9999
                np.testing.assert_allclose(margin, (best - second).numpy(), atol=1e-5)


@pytest.mark.parametrize("format", QUICK)
def test_equal_exports_have_equal_bytes(format: Format) -> None:
    if format == "mnn":
        pytest.skip("MNN writes a random number into each file")
    engines(format)
    one, other = (export(OneConvolution(), (1, 40, 48), "logits", format) for _ in range(2))
    assert one == other
    for path in (Path(rtseg.__file__).parent, Path(torch.__file__).parent, Path.cwd()):
        assert str(path).encode() not in one.model + one.beside


def test_a_margin_needs_two_classes() -> None:
    network = OneConvolution()
    network.card = ModelCard(model="one_convolution", attention="none", num_classes=1)
    with pytest.raises(UserError, match="this network has one class: export the class map"):
        export(network, OPEN, "class_map_margin")


# --- nothing half-written


@pytest.fixture
def checkpoint(shared_segmenter: Segmenter, tmp_path: Path) -> str:
    shared_segmenter.save_pretrained(tmp_path / "net")
    return str(tmp_path / "net")


@pytest.mark.parametrize("wrong", ["graph", "disk"])
def test_a_wrong_graph_is_not_written(
    wrong: str, checkpoint: str, shared_segmenter: Segmenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def other(*arguments: Any) -> Any:
        network = OneConvolution()
        return export(network, *arguments[1:])

    monkeypatch.setattr("rtseg.deploy.exports.command.export", other)
    if wrong == "disk":
        monkeypatch.setattr("rtseg.deploy.exports.command.check_right", lambda *_: "")
        monkeypatch.setattr(Path, "replace", full)
    out = tmp_path / "out"
    with pytest.raises(
        (UserError, OSError),
        match=r"the exported graph differs from PyTorch: .* on torch-export.*report this|[Nn]o space left|full",
    ):
        export_file(checkpoint, out / "net.pt2", SHAPE)
    assert not out.exists() or list(out.iterdir()) == []


def full(*_: Any) -> Any:
    raise OSError(28, "No space left on device")


def test_weights_that_are_there_stay(checkpoint: str, tmp_path: Path) -> None:
    (tmp_path / "net.bin").write_text("mine")
    with pytest.raises(UserError, match=r"net\.bin' exists"):
        export_file(checkpoint, tmp_path / "net.xml", SHAPE)
    assert (tmp_path / "net.bin").read_text() == "mine"
    for result, words in (("boxes", "--result boxes: choose logits, class_map"), ("logits", "must end in .onnx, .xml")):
        with pytest.raises(UserError, match=words):
            export_file(checkpoint, tmp_path / ("a.onnx" if result == "boxes" else "a.pb"), SHAPE, result)
