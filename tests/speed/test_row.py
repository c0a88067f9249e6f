"""What is timed, and what is not: parity decides; exported files; engines that fail."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rtseg.data.dataset import create_dataset
from rtseg.deploy.engines.eager import Eager
from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.deploy.engines.openvino import OpenVINO
from rtseg.deploy.fuse import deploy
from rtseg.deploy.graph import Graph, Output
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.scenes import make_data
from rtseg.speed.benchmark import (
    Candidate,
    Case,
    Report,
    benchmark,
    cases,
)
from tests.helpers.networks import SHAPE
from tests.helpers.speed import QUICK, roll, without_missing


def test_a_wrong_runtime_is_not_timed(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", roll)
    trained = replace(candidate, trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(trained, "eager", SHAPE), Case(trained, "eager:bf16", SHAPE)]
    found = benchmark(wanted, QUICK, stages=True)
    reference, *wrong = found.networks
    assert reference.class_map is not None
    assert reference.stages
    for r in wrong:
        assert r.parity is not None
        assert not r.parity.passed
        assert r.parity.equal_percent < 1
        assert (r.class_map, r.network, r.stages, r.overlay) == (None, None, {}, None)
        assert r.refused == r.parity.refusal()
    assert Report.from_json(found.to_json()) == found
    assert found.doubts() == [doubt for doubt in found.doubts() if "eager" not in doubt]


def test_wrong_logits_of_an_untrained_network_are_not_timed(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = Eager.logits
    monkeypatch.setattr(Eager, "logits", lambda self, x: 1.2 * logits(self, x))
    found = benchmark([Case(candidate, "eager", SHAPE)], QUICK, stages=True)
    assert found.networks[0].class_map is None
    assert str(found.networks[0].refused).startswith("logits differ by ")


def test_ones_own_threshold(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", roll)
    wanted = [Case(candidate, "eager", SHAPE)]
    refused, passed = (benchmark(wanted, replace(QUICK, min_parity=least)).networks[0] for least in (50.0, 0.0))
    assert refused.refused == "0.000 % of the pixels are the reference's, 50 % are asked"
    assert passed.refused is None
    assert passed.class_map is not None


# --- exported files


def test_an_exported_file_is_held_to_onnx_runtime(logits_graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(logits_graph, logits_graph.weights, trained=True)
    backends = without_missing("reference", "eager", "onnxruntime", "onnxruntime-plain", "openvino")
    wanted = cases([exported], backends, replace(QUICK, sizes=[(32, 32), SHAPE[1:]], batches=[1, 2]))
    assert [case.backend for case in wanted] == [b for b in backends if b in ("onnxruntime", "openvino")]
    assert {case.shape for case in wanted} == {SHAPE}
    found = benchmark(wanted, QUICK, stages=True, ddrnet=True)
    assert found.ddrnet_protocol == ()
    for r in found.networks:
        assert (r.parameters, r.macs, r.batchnorm, r.weights) == (None, None, None, logits_graph.weights)
        assert (r.parity is None) == (r.backend == "onnxruntime:fp32")  # what the others are held against
        assert r.parity is None or r.parity.equal_percent >= 99.99
        assert r.class_map is not None
    assert Report.from_json(found.to_json()) == found
    monkeypatch.setattr(OpenVINO, "classes", roll)
    if "openvino" in backends:
        found = benchmark([case for case in wanted if case.backend == "openvino"], QUICK)
        assert found.networks[0].class_map is None


def test_an_exported_class_map(class_map_graph: Graph) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(class_map_graph, class_map_graph.weights, trained=True)
    backends = ["onnxruntime", "onnxruntime-plain", "openvino"]
    found = cases([exported], [*backends, "tensorrt"], replace(QUICK, sizes=[SHAPE[1:]]))
    assert [case.backend for case in found] == backends
    (r,) = benchmark(found[:1], QUICK, stages=True).networks
    assert r.network is None
    assert r.class_map is not None
    assert r.parity is None  # it is the file itself


def test_an_exported_file_beside_its_checkpoint_is_held_to_that(
    candidate: Candidate, logits_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(logits_graph, logits_graph.weights, trained=True)
    trained = replace(candidate, trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(exported, "onnxruntime", SHAPE)]
    _, r = benchmark(wanted, QUICK).networks
    assert r.parity is not None
    assert r.parity.equal_percent >= 99.99
    monkeypatch.setattr(OnnxRuntime, "classes", roll)
    assert benchmark(wanted, QUICK).networks[1].refused


def test_a_network_of_nan_gets_no_figure(segmenter: Segmenter) -> None:
    with torch.no_grad():
        next(segmenter.head.parameters()).fill_(torch.nan)
    wanted = [Case(Candidate(segmenter), backend, (1, 16, 24)) for backend in ("reference", "eager")]
    for r in benchmark(wanted, QUICK).networks:
        assert r.refused == "the network's logits are not finite"
        assert r.class_map is None


def test_an_engine_that_fails_loses_no_other_row(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")

    def fail(self: OnnxRuntime, pictures: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory left\nand much more")

    monkeypatch.setattr(OnnxRuntime, "logits", fail)
    wanted = [Case(candidate, backend, SHAPE) for backend in ("eager", "onnxruntime")]
    found = benchmark(wanted, QUICK, stages=True)
    eager, failed = found.networks
    assert eager.class_map is not None
    assert (failed.class_map, failed.refused) == (None, "onnxruntime failed: no memory left")
    assert Report.from_json(found.to_json()) == found


def _raise(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("method", "wrong", "said"),
    [
        ("create", _raise(ValueError("no such layer\nand more")), "ValueError: no such layer"),
        ("create", lambda *_: None, "engine 'onnxruntime': `create` returned a NoneType, not an engine"),
        ("logits", _raise(UserError("too old: update it")), "too old: update it"),
        ("logits", _raise(KeyError("relu")), "KeyError: 'relu'"),
        ("logits", lambda *_: None, "its logits: NoneType, not a tensor"),
        ("logits", lambda *_: torch.zeros(5, 8, 12), "the shape of its logits is (5, 8, 12), not (1, 5, 8, 12)"),
        ("classes", lambda *_: torch.zeros(64, 96), "the shape of its class map is (64, 96), not (1, 64, 96)"),
        ("classes", lambda *_: torch.zeros(1, 64, 96), "its class map holds torch.float32, not whole numbers"),
    ],
)
def test_an_engine_that_raises_or_returns_what_it_should_not_loses_no_other_row(
    candidate: Candidate, method: str, wrong: Callable[..., Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(OnnxRuntime, method, wrong)
    failed, eager = benchmark([Case(candidate, backend, SHAPE) for backend in ("onnxruntime", "eager")], QUICK).networks
    assert (failed.class_map, failed.refused) == (None, f"onnxruntime failed: {said}")
    assert eager.class_map is not None


def test_the_memory_of_a_row(candidate: Candidate) -> None:
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], QUICK, memory=True).networks
    if sys.platform == "linux":
        assert r.peak_memory_bytes is not None
        assert r.parameters is not None
        assert 4 * r.parameters < r.peak_memory_bytes < 2**31
    else:
        assert r.peak_memory_bytes is None


def test_int8_needs_pictures(candidate: Candidate) -> None:
    pytest.importorskip("nncf")
    with pytest.raises(UserError, match="give some with --image"):
        benchmark([Case(candidate, "openvino:int8", SHAPE)], QUICK)


def test_rows_are_scored_as_they_are_timed(candidate: Candidate, tmp_path: Path) -> None:
    make_data("camvid", 2, tmp_path, n_val=3, size=SHAPE[1:])
    dataset = create_dataset("camvid", tmp_path, "val")
    network = create_model("rtformer_slim", 11, base_channels=8, spp_channels=8, head_channels=8)
    trained = Candidate(network, "w", trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(trained, "eager", SHAPE), Case(trained, "eager", (1, 32, 32))]
    plain, eager, other = benchmark(wanted, replace(QUICK, min_parity=0), dataset=dataset).networks
    deployed, confusion = deploy(network, fold=False), torch.zeros(11, 11, dtype=torch.int64)
    for i in range(3):
        image, mask, *_ = dataset[i]
        confusion += confusion_matrix(deployed(torch.from_numpy(image)), torch.from_numpy(mask), 11)
    assert plain.miou == pytest.approx(mean_iou(confusion).item(), abs=1e-3)
    assert eager.miou == pytest.approx(plain.miou, abs=1e-3)
    assert other.miou is None  # pictures are scored at their own size


@pytest.mark.parametrize(
    ("sizes", "backends", "batches"),
    [
        ([(32, 32)], ["onnxruntime"], [1]),
        ([SHAPE[1:]], ["eager", "reference", "onnxruntime-plain"], [1]),
        ([SHAPE[1:]], ["onnxruntime"], [2]),
    ],
)
def test_an_exported_file_without_a_row_is_refused(
    logits_graph: Graph, sizes: list[tuple[int, int]], backends: list[str], batches: list[int]
) -> None:
    with pytest.raises(UserError, match=r"is of 1x64x96 .* and puts out logits: ask for this --input-size"):
        cases([Candidate(logits_graph)], backends, replace(QUICK, sizes=sizes, batches=batches))


def test_a_graph_is_exported_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def exported(*arguments: Any) -> int:
        asked.append(arguments)
        return len(asked)

    monkeypatch.setattr("rtseg.speed.candidate.export", exported)
    candidate = Candidate(segmenter)
    outputs: tuple[Output, ...] = ("logits", "class_map", "logits")
    assert [candidate.graph(SHAPE, output) for output in outputs] == [1, 2, 1]
    assert asked == [(segmenter, SHAPE, "logits", "onnx"), (segmenter, SHAPE, "class_map", "onnx")]
    assert Candidate(segmenter).graph(SHAPE, "logits") == 3
