"""What is rewritten for MNN computes the same, and what costs MNN copies or threads is gone."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rtseg.attention.registry import list_attentions
from rtseg.deploy.exports.build import export
from rtseg.deploy.graph import OPEN, Graph
from rtseg.deploy.mnn_graph import rewrite_for_mnn
from tests.deploy.test_fuse import as_trained
from tests.helpers.networks import SHAPE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def rewritten(model: Any) -> Any:
    """A rewritten copy, checked."""
    proto = onnx.load_model_from_string(model.SerializeToString())
    rewrite_for_mnn(proto)
    onnx.checker.check_model(proto)
    return proto


def run(proto: Any, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3  # nothing of constants that are left over
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def images(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)


def operators(proto: Any) -> Counter[str]:
    return Counter(node.op_type for node in proto.graph.node)


def softmax_axes(proto: Any) -> list[int]:
    return [attribute.i for node in proto.graph.node if node.op_type == "Softmax" for attribute in node.attribute]


def test_the_rewritten_graph_computes_the_same(logits_graph: Graph) -> None:
    before = onnx.load_model_from_string(logits_graph.model)
    after = rewritten(before)
    expected = run(before, images(SHAPE))
    assert expected.std() > 0
    np.testing.assert_allclose(run(after, images(SHAPE)), expected, atol=2e-6 * np.abs(expected).max())


def test_what_costs_mnn_time_is_gone(logits_graph: Graph) -> None:
    before = onnx.load_model_from_string(logits_graph.model)
    after = rewritten(before)
    assert softmax_axes(before).count(1) == 2  # cross-resolution attention, in each of two blocks
    assert softmax_axes(after) == [3, 3, 3, 3]
    sums = {name for node in after.graph.node if node.op_type == "Add" for name in node.input}
    copied = [node for node in after.graph.node if node.op_type in ("Reshape", "Transpose") and sums & {*node.output}]
    assert [list(node.input) for node in copied] == [["pictures_float"]]
    found, old = operators(after), operators(before)
    assert found["Mul"] == old["Mul"] - 1  # the images' scale
    assert found["BatchNormalization"] == old["BatchNormalization"] + 2


@pytest.mark.slow
@pytest.mark.parametrize("attention", list_attentions())
def test_every_attention_at_open_sizes(attention: str) -> None:
    network = as_trained("rtformer_slim", "gfa+ca" if attention == "ca" else attention)
    before = onnx.load_model_from_string(export(network, OPEN).model)
    after = rewritten(before)
    for shape in ((2, 96, 160), (1, 70, 101), (1, 33, 31)):
        expected = run(before, images(shape))
        np.testing.assert_allclose(run(after, images(shape)), expected, atol=5e-6 * np.abs(expected).max())


class Attend(torch.nn.Module):
    """What looks like cross-resolution attention."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        images = x.permute(0, 3, 1, 2).float()
        if self.kind == "heads":
            images = images.repeat(1, 2, 1, 1)
            heads = images.reshape(-1, 3, images.shape[2] * images.shape[3])
            keys = heads[:, :, :4]
            return (keys @ (keys.mT @ heads).softmax(1)).reshape(images.shape)
        keys = images[:, :, :2, :2].flatten(2)
        weights = (keys.mT @ images.flatten(2)).softmax(1)
        y = keys @ weights
        if self.kind == "read twice":
            return y.unflatten(2, images.shape[2:]) + weights.sum()
        if self.kind == "another map":
            return y.unflatten(2, (images.shape[3], images.shape[2]))
        return y.unflatten(2, images.shape[2:])


@pytest.mark.parametrize(("kind", "axis"), [("attention", 3), ("read twice", 1), ("another map", 1), ("heads", 1)])
def test_only_attention_over_a_map_is_rewritten(kind: str, axis: int) -> None:
    shape = (2, 4, 6)
    program = torch.export.export(Attend(kind), (torch.from_numpy(images(shape)),))
    written = torch.onnx.export(program, dynamo=True, verbose=False)
    assert written is not None
    before = written.model_proto
    after = rewritten(before)
    assert softmax_axes(after) == [axis]
    np.testing.assert_allclose(run(after, images(shape)), run(before, images(shape)), rtol=1e-5)


def from_text(body: str) -> Any:
    """A graph of images (1, 8, 8, 3) with constants `half` and w (3, 3, 1, 1) or (3, 1, 1, 1)."""
    text = f"""<ir_version: 10, opset_import: ["" : 18]>
    g (uint8[1, 8, 8, 3] pictures) => (float[1, 3, 8, 8] logits)
    <float half = {{0.5}}, float[3, 3, 1, 1] w = {{1, 2, 3, 4, 5, 6, 7, 8, 9}}, float[3, 1, 1, 1] g = {{1, 2, 3}},
     float[1, 3, 1, 1] scale = {{1, 2, 3}}> {{
        turned = Transpose <perm = [0, 3, 1, 2]> (pictures)
        map = Cast <to = 1> (turned)
        {body}
    }}"""
    return onnx.shape_inference.infer_shapes(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    ("conv", "scaled"),
    [
        ("logits = Conv (shifted, w)", True),
        ("v = Mul (w, half) logits = Conv (shifted, v)", False),
        ("logits = Conv <group = 3> (shifted, g)", False),
    ],
)
def test_only_constant_weights_of_whole_images_are_scaled(conv: str, scaled: bool) -> None:
    before = from_text(f"scaled = Mul (map, scale) shifted = Add (scaled, half) {conv}")
    after = rewritten(before)
    assert ("scaled" not in {name for node in after.graph.node for name in node.output}) == scaled
    np.testing.assert_allclose(run(after, images((1, 8, 8))), run(before, images((1, 8, 8))), rtol=1e-5)


def test_a_map_that_several_sums_read_is_brought_into_blocks_once() -> None:
    before = from_text(
        "c = Conv (map, w) last = Transpose <perm = [0, 2, 3, 1]> (map) "
        "first = Transpose <perm = [0, 3, 1, 2]> (last) sum = Add (c, first) logits = Add (sum, first)"
    )
    after = rewritten(before)
    assert operators(after)["BatchNormalization"] == 1
    np.testing.assert_allclose(run(after, images((1, 8, 8))), run(before, images((1, 8, 8))), rtol=1e-5)
