"""A network in 8 bits: what is allowed to be lost, when it pays, and that a file that does not is never written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rtseg.cli import main
from rtseg.deploy.engines import create_engine
from rtseg.deploy.exports.int8 import Int8, data_of, export_int8
from rtseg.deploy.exports.int8_onnx import quantize_onnx
from rtseg.deploy.exports.onnx_file import onnx_model
from rtseg.deploy.exports.program import trace
from rtseg.deploy.exports.read import read_proven
from rtseg.deploy.exports.scores import Images, NotWorthError, Scored, check_worth, scores_table
from rtseg.deploy.exports.verify import agreement
from rtseg.deploy.graph import OPEN, Format, OpenShape
from rtseg.deploy.predictor import load
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from tests.helpers.command import exit_status

FP32, BF16 = Scored("fp32", 70.0, 100.0, 20.0), Scored("bf16", 69.9, 99.5, 10.0)


def int8(miou: float, ms: float, rest: str = "fp32") -> Scored:
    return Scored(f"int8, rest {rest}", miou, 98.0, ms)


def test_the_fastest_that_holds_is_taken() -> None:
    slow, fast, lossy = int8(69.8, 8.0), int8(69.6, 7.0, "bf16"), int8(69.0, 5.0, "bf16")
    assert check_worth([FP32, BF16, slow, fast], 0.5) == fast
    assert check_worth([FP32, BF16, slow, lossy], 0.5) == slow
    assert check_worth([FP32, BF16, slow, lossy], 1.0) == lossy
    assert check_worth([FP32, int8(70.4, 19.0)], 0.0).miou == 70.4  # it may also gain


@pytest.mark.parametrize(
    ("scores", "allowed", "message"),
    [
        ([FP32, BF16, int8(69.0, 5.0), int8(68.0, 4.0)], 0.5, r"loses 1\.00 points of mIoU \(69\.00 % instead of 70"),
        ([FP32, int8(69.9, 21.0)], 0.5, r"21\.0 ms an image, where fp32 takes 20\.0 ms and loses 0\.00 points"),
        ([FP32, BF16, int8(69.9, 12.0)], 0.5, r"12\.0 ms an image, where bf16 takes 10\.0 ms and loses 0\.10 points"),
    ],
)
def test_what_does_not_pay_is_refused_with_its_figures(scores: list[Scored], allowed: float, message: str) -> None:
    with pytest.raises(NotWorthError, match=message):
        check_worth(scores, allowed)


def test_bfloat16_counts_only_if_it_holds() -> None:
    assert check_worth([FP32, BF16, int8(70.0, 12.0)], 0.05).ms == 12.0


def test_the_table_compares_with_float32() -> None:
    assert list(scores_table([FP32, int8(69.5, 5.0)], 3, "OpenVINO").rows[1]) == [
        "int8, rest fp32",
        69.5,
        0.5,
        98.0,
        5.0,
        4.0,
    ]


def test_images_are_spread_over_the_data_set_and_resized(tiny_camvid: Path) -> None:
    from rtseg.data import create_dataset

    dataset = create_dataset("camvid", tiny_camvid, "train")
    images = Images(dataset, 4, (32, 48))
    assert images.indices == [0, 3, 6, 9]
    assert images.image(3).shape == (1, 32, 48, 3)
    assert Images(dataset, 100, (40, 56)).indices == list(range(10))
    assert np.array_equal(Images(dataset, 1, (40, 56)).image(0)[0], dataset[0].image)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "a.xml", "--int8"], "--int8 and --data belong together"),
        (["-o", "a.xml", "--data", "."], "--int8 and --data belong together"),
        (["-o", "a.xml", "--int8", "--data", "absent"], "absent"),
        (["-o", "a.mnn", "--int8", "--data", "."], "'a.mnn' with logits: --int8 writes .onnx, for ONNX Runtime, and"),
        (["-o", "a.pt2", "--int8", "--data", "."], "elsewhere 8 bits do not pay (docs/deploy.md)"),
        (["-o", "a.xml", "--int8", "--data", ".", "--class-map"], "'a.xml' with class_map: --int8 writes .onnx"),
        (["-o", "a.xml", "--int8", "--data", ".", "--max-drop", "-1"], "--max-drop -1.0 must be"),
        (["-o", "a.xml", "--int8", "--data", ".", "--max-images", "0"], "--max-images 0 must be a whole number"),
    ],
)
def test_bad_options(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "net").mkdir()
    monkeypatch.chdir(tmp_path)
    assert exit_status(main, "export", "net", *arguments) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.fixture(scope="module")
def network() -> Segmenter:
    torch.manual_seed(0)
    return create_model("rtformer_slim", 11, base_channels=8, spp_channels=16, head_channels=8, cross_size=3).eval()


@pytest.mark.parametrize(
    ("shape", "format", "message"),
    [
        ((2, 32, 48), "xml", "takes one image"),
        ((1, None, 48), "onnx", "takes one image"),
        (OPEN, "xml", "OpenVINO's 8 bits take one size: give --input-size, or export .onnx"),
    ],
)
def test_other_shapes_are_refused(network: Segmenter, shape: OpenShape, format: Format, message: str) -> None:
    with pytest.raises(UserError, match=message):
        export_int8(network, shape, format, Int8(Path()))


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "engine"), [("xml", "openvino"), ("onnx", "onnxruntime")])
def test_an_exported_network(
    ending: Format, engine: str, network: Segmenter, tiny_camvid: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Its layers are in 8 bits, it proves itself and predicts, and is not quantised twice."""
    for library in ("openvino", "nncf", "onnxruntime"):
        pytest.importorskip(library)
    network.save_pretrained(tmp_path / "net")
    monkeypatch.setattr("rtseg.deploy.exports.int8.check_worth", lambda scores, allowed: scores[-1])  # too small to pay
    file = tmp_path / f"net.{ending}"
    arguments = ["--input-size", "40", "56", "--int8", "--data", str(tiny_camvid), "--dataset", "camvid"]
    assert exit_status(main, "export", str(tmp_path / "net"), "-o", str(file), *arguments, "--max-drop", "100") == 0
    printed = capsys.readouterr().out
    assert "ranges from 10 training images, mIoU on 3 validation images" in printed
    assert "\nint8" in printed
    assert f"Check it anywhere: rtseg verify {file}" in printed
    content = file.read_bytes()
    assert (b"FakeQuantize" if ending == "xml" else b"DequantizeLinear") in content
    assert exit_status(main, "verify", str(file), "--engine", engine) == 0
    assert exit_status(main, "verify", str(file)) == 0
    assert "does not run it" not in "".join(capsys.readouterr())
    graph, proof = read_proven(file)
    assert proof is not None
    assert (load(file)(proof.image) == proof.class_map).mean() >= proof.least_equal_percent / 100
    with pytest.raises(UserError, match="is in 8 bits already: run it with 'openvino'"):
        create_engine("openvino:int8", graph, (1, 40, 56), calibration=torch.zeros(2, 40, 56, 3, dtype=torch.uint8))
    content = content.replace(b"precision", b"precisiom", 1)
    file.write_bytes(content)
    assert exit_status(main, "verify", str(file)) == 2


@pytest.mark.slow
def test_open_sizes(network: Segmenter, tiny_camvid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime takes any size in 8 bits; OpenVINO could end the process, and is refused."""
    for library in ("openvino", "onnxruntime"):
        pytest.importorskip(library)
    monkeypatch.setattr("rtseg.deploy.exports.int8.check_worth", lambda scores, allowed: scores[-1])
    graph, proof = export_int8(network, OPEN, "onnx", Int8(tiny_camvid, "camvid", max_drop=100))
    assert agreement("onnxruntime", graph, proof).is_right
    engine = create_engine("onnxruntime", graph, OPEN)
    assert engine.run(torch.zeros(2, 37, 51, 3, dtype=torch.uint8)).shape == (2, 37, 51)
    with pytest.raises(UserError, match="OpenVINO's 8 bits take one size"):
        create_engine("openvino", graph, OPEN)


@pytest.mark.slow
def test_layers_return_to_float_until_it_holds(
    network: Segmenter, tiny_camvid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's road; NNCF has its own. The layer that gains most is the first to return."""
    pytest.importorskip("onnxruntime")
    shape = (1, 40, 56)
    model = onnx_model(trace(network, shape, "logits"), shape, "logits")
    number = sum(node.op_type == "Conv" for node in model.graph.node)
    float_and_8_bits, each_layer, returned = [0.5, 0.3], np.linspace(0.31, 0.4, number - 1), [0.35, 0.45]
    scripted = iter([*float_and_8_bits, *each_layer, *returned])
    monkeypatch.setattr("rtseg.deploy.exports.int8_onnx.miou_of", lambda *_: (next(scripted), [0.0] * 3))
    parts = data_of(network.card, Int8(tiny_camvid, "camvid"))
    training, validation = (Images(part, 3, (40, 56)) for part in parts)
    quantized = quantize_onnx(model.SerializeToString(), training, validation, max_drop=10)
    assert quantized.in_float.startswith(f"3 of {number} convolutions")  # the first always


@pytest.mark.slow
def test_what_does_not_hold_is_not_written(
    network: Segmenter, tiny_camvid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("onnxruntime")
    network.save_pretrained(tmp_path / "net")
    scores = [FP32, int8(60.0, 5.0)]
    monkeypatch.setattr("rtseg.deploy.exports.int8.score", lambda *_: scores)
    out = tmp_path / "out" / "net.onnx"
    arguments = ["--input-size", "40", "56", "--int8", "--data", str(tiny_camvid), "--dataset", "camvid"]
    assert exit_status(main, "export", str(tmp_path / "net"), "-o", str(out), *arguments) == 1
    assert "Nothing was written: in int8 the network loses 10.00 points" in capsys.readouterr().err
    assert not out.exists()


def test_another_data_set_is_refused(network: Segmenter, shared_segmenter: Segmenter, tiny_camvid: Path) -> None:
    with pytest.raises(UserError, match="'camvid' has 11 classes and the network 5"):
        data_of(shared_segmenter.card, Int8(tiny_camvid, "camvid"))
    with pytest.raises(UserError, match=r"unknown data set 'camvids' \(--dataset\)\. Did you mean 'camvid'\?"):
        data_of(network.card, Int8(tiny_camvid, "camvids"))
    with pytest.raises(UserError, match="give its kind with --dataset"):
        data_of(network.card, Int8(tiny_camvid))
