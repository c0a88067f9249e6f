"""What a program does not take of a graph is listed: operators by name, and uint8 where it is not taken."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from rtseg.cli import main
from rtseg.deploy.exports.lint import not_taken
from rtseg.deploy.exports.lint_targets import TARGETS
from rtseg.deploy.graph import Graph
from rtseg.models.segmenter import Segmenter


def test_operators_and_types_are_compared() -> None:
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, [2])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [2])
    nodes = [
        helper.make_node("Transpose", ["images"], ["turned"], "turn"),
        helper.make_node("Cast", ["images"], ["numbers"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Det", ["numbers"], ["a"], "one"),
        helper.make_node("Det", ["numbers"], ["b"], "two"),
        helper.make_node("Relu", ["numbers"], ["out"], "relu", domain="other"),
    ]
    graph = helper.make_graph(nodes, "g", [images], [out])
    assert not_taken(graph, TARGETS["tensorrt"]) == ({"Det": ["one", "two"], "Relu": ["relu"]}, {"Transpose": ["turn"]})
    assert not_taken(graph, TARGETS["webgpu"]) == ({"Det": ["one", "two"], "Relu": ["relu"]}, {})


def test_a_network_of_one_size(logits_graph: Graph) -> None:
    """All but the permutation of uint8, which the engine for TensorRT moves."""
    graph = onnx.load_model_from_string(logits_graph.model).graph
    operators, uint8 = not_taken(graph, TARGETS["tensorrt"])
    assert operators == {}
    assert list(uint8) == ["Transpose"]


@pytest.mark.parametrize("target", ["tensorrt", "webgpu"])
def test_the_command(
    target: str,
    shared_segmenter: Segmenter,
    logits_graph: Graph,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("rtseg.deploy.exports.lint.export", lambda *_: logits_graph)
    shared_segmenter.save_pretrained(tmp_path / "net")
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "net"), "--lint", target])
    printed = capsys.readouterr().out
    assert f"{target}: " in printed
    assert "Nothing was run" in printed
    assert ended.value.code == int(" 0 of " not in printed)


def test_bad_targets(tmp_path: Path, shared_segmenter: Segmenter, capsys: pytest.CaptureFixture[str]) -> None:
    shared_segmenter.save_pretrained(tmp_path / "net")
    for arguments, words in ((["--lint", "tpu"], "choose tensorrt, webgpu"), ([], "Give -o net.onnx, or --lint")):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(tmp_path / "net"), *arguments])
        assert ended.value.code == 2
        assert words in capsys.readouterr().err
