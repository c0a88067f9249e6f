"""The clock, and what is measured with it: engines in turns, held to the reference first, reported with conditions."""

import dataclasses
import json
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rtseg.data.dataset import create_dataset
from rtseg.deploy.class_map import class_map
from rtseg.deploy.device import choose_device
from rtseg.deploy.engines import parse_backend
from rtseg.deploy.engines.eager import Eager
from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.deploy.engines.openvino import OpenVINO
from rtseg.deploy.export import OnnxGraph, Output
from rtseg.deploy.fuse import count_batchnorm, deploy
from rtseg.errors import UserError
from rtseg.metrics import confusion_matrix, mean_iou
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.scenes import make_data
from rtseg.speed.benchmark import (
    Candidate,
    Case,
    NetworkReport,
    Report,
    Timing,
    benchmark,
    cases,
    count_macs,
    count_parameters,
    measure,
    texture,
)
from rtseg.speed.parity import Parity
from rtseg.speed.protocols import ddrnet_protocol
from rtseg.speed.rivals import create_rival
from rtseg.speed.timing import measure_together
from tests.helpers.networks import SHAPE

STEADY: dict[str, Any] = {"device": {"name": "x"}}
QUICK: dict[str, Any] = {"warmup_seconds": 0.0, "min_iterations": 3, "min_seconds": 0.0, "max_seconds": 2.0}


def test_a_sleep_of_known_length() -> None:
    timing = measure(lambda: time.sleep(0.02), warmup_seconds=0.1, min_iterations=20, min_seconds=0.2, batch_size=4)
    assert timing.median_ms == pytest.approx(20, abs=4)
    assert timing.fps == pytest.approx(4000 / timing.median_ms)
    assert timing.iterations >= 20
    assert timing.warmup_iterations >= 2
    assert timing.p5_ms <= timing.median_ms <= timing.p95_ms <= timing.p99_ms


def test_it_runs_until_both_minima_or_the_maximum() -> None:
    begin = time.perf_counter()
    assert measure(lambda: time.sleep(0.001), warmup_seconds=0, min_iterations=1, min_seconds=0.5).iterations > 100
    assert time.perf_counter() - begin >= 0.5
    slow = measure(lambda: time.sleep(0.05), warmup_seconds=0, min_iterations=10**6, min_seconds=0.1, max_seconds=0.3)
    assert 3 <= slow.iterations <= 7


def test_warm_up_waits_until_the_time_settles() -> None:
    calls: list[None] = []

    def step() -> None:
        calls.append(None)
        time.sleep(max(0.002, 0.1 - 0.02 * len(calls)))  # 80 ms at first, 2 ms from the fifth call on

    timing = measure(step, warmup_seconds=0.1, min_iterations=20, min_seconds=0, max_seconds=9)
    assert timing.p95_ms < 18
    assert len(calls) == timing.iterations + timing.warmup_iterations


def test_steps_take_turns() -> None:
    order: list[float] = []

    def step(seconds: float) -> None:
        order.append(seconds)
        time.sleep(seconds)

    steps = [partial(step, 0.01), partial(step, 0.03)]
    fast, slow = measure_together(steps, warmup_seconds=0, min_iterations=1, min_seconds=1.2)
    assert slow.median_ms / fast.median_ms == pytest.approx(3, rel=0.3)
    assert sum(before != now for before, now in pairwise(order)) >= 5  # warm-up a, b, then at least two rounds of each


def test_statistics() -> None:
    timing = Timing.of([*[10.0] * 50, *[12.0] * 50], batch_size=2, warmup_iterations=7)
    assert (timing.median_ms, timing.mean_ms, timing.std_ms) == (11, 11, 1)
    assert (timing.p5_ms, timing.p95_ms, timing.p99_ms) == (10, 12, 12)
    assert timing.drift == pytest.approx(0.2)
    assert (timing.iterations, timing.warmup_iterations) == (100, 7)
    assert timing.fps == pytest.approx(2000 / 11)


@pytest.mark.parametrize(
    "bad",
    [
        {"min_iterations": 0},
        {"min_seconds": -1},
        {"warmup_seconds": -1},
        {"max_seconds": 0},
        {"max_seconds": 1},
        {"min_seconds": 0},
    ],
)
def test_nothing_to_measure_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UserError, match="at least one iteration"):
        measure(lambda: None, **bad)


def row(**changes: Any) -> NetworkReport:
    """A row by hand."""
    common: dict[str, Any] = {
        "model": "m", "attention": "a", "num_classes": 3, "weights": "w", "backend": "eager:fp32", "engine": {},
        "input_size": (8, 8), "batch_size": 1, "parameters": 1, "macs": 1,
    }  # fmt: skip
    return NetworkReport(**common | changes)


def took(median_ms: float) -> Timing:
    return Timing.of([median_ms] * 20, batch_size=1, warmup_iterations=1)


@pytest.fixture(scope="module")
def candidate(shared_segmenter: Segmenter, logits_graph: OnnxGraph, class_map_graph: OnnxGraph) -> Candidate:
    """With the graphs that are there already."""
    found = Candidate(shared_segmenter, weights_hash(shared_segmenter))
    found._graphs.update({(SHAPE, "logits"): logits_graph, (SHAPE, "class_map"): class_map_graph})
    return found


def without_missing(*backends: str) -> list[str]:
    found = []
    for backend in backends:
        kind, precision = parse_backend(backend)
        try:
            kind.check(precision, torch.device("cpu"))
        except UserError:
            continue
        found.append(backend)
    return found


@pytest.fixture(scope="module")
def report(candidate: Candidate) -> Report:
    """Every engine of a CPU that starts quickly."""
    backends = without_missing("reference", "eager", "eager:bf16", "onnxruntime", "onnxruntime-plain", "openvino")
    timing: dict[str, Any] = {"warmup_seconds": 0.02, "min_iterations": 20, "min_seconds": 0.1, "max_seconds": 1.0}
    return benchmark(cases([candidate], [SHAPE[1:]], backends), device="cpu", threads=1, stages=True, **timing)


def test_report(report: Report, shared_segmenter: Segmenter) -> None:
    first, eager, *_ = report.networks
    assert [r.backend for r in report.networks] == [
        b if ":" in b else f"{b}:fp32"
        for b in without_missing("reference", "eager", "eager:bf16", "onnxruntime", "onnxruntime-plain", "openvino")
    ]
    for r in report.networks:
        assert (r.model, r.attention, r.num_classes, r.input_size, r.batch_size) == (
            "rtformer_slim", "gfa+ca", 5, SHAPE[1:], 1,
        )  # fmt: skip
        assert r.weights == weights_hash(shared_segmenter)
        assert r.parameters == sum(p.numel() for n, p in shared_segmenter.named_parameters() if "aux_head" not in n)
        assert r.macs == count_macs(shared_segmenter, SHAPE[1:])
        assert r.refused is None
        assert r.class_map is not None
        assert r.class_map.median_ms > 0
        assert r.class_map.fps == pytest.approx(1000 / r.class_map.median_ms)
        assert r.overlay is not None
        assert r.overlay.median_ms > 0
        assert (r.peak_memory_bytes, r.kernels, r.miou) == (None, None, None)  # there is no GPU, no data set
        assert r.engine["threads"] == 1
        plain = r.backend == "onnxruntime-plain:fp32"
        assert (r.network is None) == plain
        assert (r.cell_candidates is None) == plain
        assert (r.parity is None) == (r is first)
        if r.parity is not None:
            assert r.parity.passed
    assert first.batchnorm is None
    assert eager.batchnorm is not None
    assert (eager.batchnorm["folded"], eager.batchnorm["left"]) == (23, 24)
    assert 0 < eager.batchnorm["max_abs_difference"] < 1e-4 * eager.batchnorm["max_abs_logit"]
    conditions = report.conditions
    assert conditions["device"]["threads"] == 1
    assert conditions["device"]["name"]
    assert conditions["torch"] == torch.__version__
    assert conditions["input"] == "drawn texture"


def test_json_is_read_back_as_it_was(report: Report) -> None:
    text = report.to_json()
    assert "\n" not in text
    assert Report.from_json(text) == report
    full = dataclasses.replace(
        report,
        networks=(*report.networks, row(refused="wrong", parity=Parity(3.0, None, "finite", 100.0, False, 2))),
        ddrnet_protocol=({"network": "m a", "input_size": [8, 8], "latency_ms": 2.0, "fps": 500.0, "iterations": 3},),
    )
    assert Report.from_json(full.to_json()) == full
    for text in ("", "[]", "{}", "7", '{"networks": [{}], "conditions": {}, "ddrnet_protocol": []}'):
        with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
            Report.from_json(text)


def test_stages_are_the_parts_of_the_headline(report: Report) -> None:
    for r in report.networks:
        assert list(r.stages) == {
            "reference": ["normalize", "network", "upsample", "argmax"],
            "eager": ["normalize", "network", "class map"],
            "onnxruntime-plain": ["normalize + network + upsample + argmax"],
        }.get(r.backend.partition(":")[0], ["normalize + network", "class map"])
        assert r.class_map is not None
        total = sum(timing.p5_ms for timing in r.stages.values())  # other work on the machine counts least there
        assert 0.5 < total / r.class_map.p5_ms < 2, r.name
        network = next((timing for name, timing in r.stages.items() if name.endswith("network")), None)
        assert network == r.network


def test_stages_only_where_they_are_asked_for(candidate: Candidate) -> None:
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], device="cpu", **QUICK).networks
    assert (r.stages, r.overlay) == ({}, None)
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], device="cpu", stages=True, **QUICK).networks
    assert list(r.stages) == ["normalize", "network", "class map"]


def test_what_is_measured_and_the_settings_stay(segmenter: Segmenter) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    wanted = [Case(Candidate(segmenter), "eager", (1, 16, 24))]
    found = benchmark(wanted, device="cpu", threads=3, ddrnet_seconds=0.01, **QUICK)
    assert found.networks[0].engine["threads"] == found.conditions["device"]["threads"] == 3
    assert found.networks[0].weights == "random (untrained)"
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert segmenter.training
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())


def test_several_networks_sizes_and_batches(segmenter: Segmenter) -> None:
    other = create_model("ddrnet_23_slim", 3, base_channels=8, spp_channels=8)
    sizes, batches = [(16, 24), (33, 17)], [1, 3]
    wanted = cases([Candidate(segmenter), Candidate(other)], sizes, ["eager"], batches)
    assert len(wanted) == 8
    told: list[str] = []
    found = benchmark(wanted, device="cpu", on_build=told.append, **QUICK)
    assert [(r.input_size, r.batch_size, r.backend.partition(":")[0]) for r in found.networks] == [
        (case.shape[1:], case.shape[0], case.backend) for case in wanted
    ]
    assert told[0] == "rtformer_slim gfa+ca, eager, 1x16x24"
    assert told[-1] == "ddrnet_23_slim, eager, 3x33x17"
    names = [r.name for r in found.networks]
    assert names[0] == "rtformer_slim gfa+ca, eager:fp32, 16x24"
    assert names[-1] == "ddrnet_23_slim, eager:fp32, 33x17, batch 3"
    assert len(set(names)) == 8
    macs = {(r.model, r.input_size): r.macs for r in found.networks if r.batch_size == 1}
    assert macs["ddrnet_23_slim", (33, 17)] == count_macs(other, (33, 17))
    for r in found.networks:
        assert r.class_map is not None
        assert r.class_map.fps == pytest.approx(1000 * r.batch_size / r.class_map.median_ms)
        assert r.macs == macs[r.model, r.input_size]  # of one picture
        assert (r.cell_candidates is None) == (r.batch_size > 1)


def test_equal_cases_are_measured_twice(candidate: Candidate) -> None:
    wanted = [Case(candidate, backend, (1, 16, 16)) for backend in ("reference", "reference", "eager", "eager:fp32")]
    found = benchmark(wanted, device="cpu", ddrnet_seconds=0.01, **QUICK)
    assert all(r.class_map is not None for r in found.networks)
    assert [r.backend for r in found.networks] == ["reference:fp32"] * 2 + ["eager:fp32"] * 2
    assert len(found.ddrnet_protocol) == 1


def spy_on_pictures(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    seen: list[Tensor] = []
    run = Eager.run

    def spy(self: Eager, pictures: Tensor) -> Tensor:
        seen.append(pictures)
        return run(self, pictures)

    monkeypatch.setattr(Eager, "run", spy)
    return seen


def test_images_are_resized_and_taken_in_turn(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [np.full((10 * k, 7, 3), 40 * k, np.uint8) for k in (1, 2, 3)]
    seen = spy_on_pictures(monkeypatch)
    for batch, expected in ((1, [[40], [80], [120]]), (2, [[40, 80], [80, 120], [120, 40]])):
        seen.clear()
        found = benchmark([Case(candidate, "eager", (batch, 16, 24))], device="cpu", images=images, **QUICK)
        assert found.conditions["input"] == "3 given picture(s)"
        assert found.networks[0].parity is not None
        assert found.networks[0].parity.pictures == 3
        assert {tuple(pictures.shape) for pictures in seen} == {(batch, 16, 24, 3)}
        levels = [[int(picture.unique().item()) for picture in pictures] for pictures in seen]
        assert levels[:3] == expected  # parity
        assert levels[3:6] == expected  # and the clock


def test_candidates_are_of_all_images(candidate: Candidate) -> None:
    """Also where an engine writes the logits of each into the same memory."""
    images = [texture(SHAPE[1:]), np.zeros((*SHAPE[1:], 3), np.uint8)]
    wanted = [Case(candidate, backend, SHAPE) for backend in without_missing("eager", "openvino")]
    eager, *others = (r.cell_candidates for r in benchmark(wanted, device="cpu", images=images, **QUICK).networks)
    busy, flat = (
        benchmark(wanted[:1], device="cpu", images=[image], **QUICK).networks[0].cell_candidates for image in images
    )
    assert flat is not None
    assert busy is not None
    assert flat != pytest.approx(busy, rel=0.01)
    assert eager == pytest.approx((flat + busy) / 2)
    assert others == pytest.approx([eager] * len(others), rel=0.005)


def test_one_image_in_a_batch_is_shifted(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spy_on_pictures(monkeypatch)
    benchmark([Case(candidate, "eager", (3, 16, 24))], device="cpu", **QUICK)
    first, second, third = seen[0]
    assert torch.equal(first, torch.from_numpy(texture((16, 24))))
    assert torch.equal(second, first.roll(7, 1))
    assert torch.equal(third, first.roll(14, 1))


# --- parity decides what is timed


def roll(self: Eager, logits: Tensor) -> Tensor:
    return (class_map(logits, self.shape[1:]) + 1) % 5


def test_a_wrong_runtime_is_not_timed(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", roll)
    trained = dataclasses.replace(candidate, trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(trained, "eager", SHAPE), Case(trained, "eager:bf16", SHAPE)]
    found = benchmark(wanted, device="cpu", stages=True, **QUICK)
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
    found = benchmark([Case(candidate, "eager", SHAPE)], device="cpu", stages=True, **QUICK)
    assert found.networks[0].class_map is None
    assert str(found.networks[0].refused).startswith("logits differ by ")


def test_ones_own_threshold(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Eager, "classes", roll)
    wanted = [Case(candidate, "eager", SHAPE)]
    refused, passed = (
        benchmark(wanted, device="cpu", least_percent=least, **QUICK).networks[0] for least in (50.0, 0.0)
    )
    assert refused.refused == "0.000 % of the pixels are the reference's, 50 % are asked"
    assert passed.refused is None
    assert passed.class_map is not None


# --- exported files


def test_an_exported_file_is_held_to_onnx_runtime(logits_graph: OnnxGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(logits_graph, logits_graph.weights, trained=True)
    backends = without_missing("reference", "eager", "onnxruntime", "onnxruntime-plain", "openvino")
    wanted = cases([exported], [(32, 32), SHAPE[1:]], backends, [1, 2])
    assert [case.backend for case in wanted] == [b for b in backends if b in ("onnxruntime", "openvino")]
    assert {case.shape for case in wanted} == {SHAPE}
    found = benchmark(wanted, device="cpu", stages=True, ddrnet_seconds=0.01, **QUICK)
    assert found.ddrnet_protocol == ()
    for r in found.networks:
        assert (r.parameters, r.macs, r.batchnorm, r.weights) == (None, None, None, logits_graph.weights)
        assert (r.parity is None) == (r.backend == "onnxruntime:fp32")  # what the others are held against
        assert r.parity is None or r.parity.equal_percent >= 99.99
        assert r.class_map is not None
    assert Report.from_json(found.to_json()) == found
    monkeypatch.setattr(OpenVINO, "classes", roll)
    if "openvino" in backends:
        found = benchmark([case for case in wanted if case.backend == "openvino"], device="cpu", **QUICK)
        assert found.networks[0].class_map is None


def test_an_exported_class_map(class_map_graph: OnnxGraph) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(class_map_graph, class_map_graph.weights, trained=True)
    (case,) = cases([exported], [SHAPE[1:]], ["onnxruntime", "onnxruntime-plain", "openvino"])
    assert case.backend == "onnxruntime-plain"
    (r,) = benchmark([case], device="cpu", stages=True, **QUICK).networks
    assert r.network is None
    assert r.class_map is not None
    assert r.parity is None  # it is the file itself


def test_an_exported_file_beside_its_checkpoint_is_held_to_that(
    candidate: Candidate, logits_graph: OnnxGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    exported = Candidate(logits_graph, logits_graph.weights, trained=True)
    trained = dataclasses.replace(candidate, trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(exported, "onnxruntime", SHAPE)]
    _, r = benchmark(wanted, device="cpu", **QUICK).networks
    assert r.parity is not None
    assert r.parity.equal_percent >= 99.99
    monkeypatch.setattr(OnnxRuntime, "classes", roll)
    assert benchmark(wanted, device="cpu", **QUICK).networks[1].refused


def test_a_network_of_nan_gets_no_figure(segmenter: Segmenter) -> None:
    with torch.no_grad():
        next(segmenter.head.parameters()).fill_(torch.nan)
    wanted = [Case(Candidate(segmenter), backend, (1, 16, 24)) for backend in ("reference", "eager")]
    for r in benchmark(wanted, device="cpu", **QUICK).networks:
        assert r.refused == "the network's logits are not finite"
        assert r.class_map is None


def test_an_engine_that_fails_loses_no_other_row(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")

    def fail(self: OnnxRuntime, pictures: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no memory left\nand much more")

    monkeypatch.setattr(OnnxRuntime, "logits", fail)
    wanted = [Case(candidate, backend, SHAPE) for backend in ("eager", "onnxruntime")]
    found = benchmark(wanted, device="cpu", stages=True, **QUICK)
    eager, failed = found.networks
    assert eager.class_map is not None
    assert (failed.class_map, failed.refused) == (None, "onnxruntime failed: no memory left")
    assert Report.from_json(found.to_json()) == found


def test_the_memory_of_a_row(candidate: Candidate) -> None:
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], device="cpu", memory=True, **QUICK).networks
    if sys.platform == "linux":
        assert r.peak_memory_bytes is not None
        assert r.parameters is not None
        assert 4 * r.parameters < r.peak_memory_bytes < 2**31
    else:
        assert r.peak_memory_bytes is None


def test_int8_needs_pictures(candidate: Candidate) -> None:
    pytest.importorskip("nncf")
    with pytest.raises(UserError, match="give some with --image"):
        benchmark([Case(candidate, "openvino:int8", SHAPE)], device="cpu", **QUICK)


def test_rows_are_scored_as_they_are_timed(candidate: Candidate, tmp_path: Path) -> None:
    make_data("camvid", 2, tmp_path, n_val=3, size=SHAPE[1:])
    dataset = create_dataset("camvid", tmp_path, "val")
    network = create_model("rtformer_slim", 11, base_channels=8, spp_channels=8, head_channels=8)
    trained = Candidate(network, "w", trained=True)
    wanted = [Case(trained, "reference", SHAPE), Case(trained, "eager", SHAPE), Case(trained, "eager", (1, 32, 32))]
    plain, eager, other = benchmark(wanted, device="cpu", dataset=dataset, least_percent=0, **QUICK).networks
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
    logits_graph: OnnxGraph, sizes: list[tuple[int, int]], backends: list[str], batches: list[int]
) -> None:
    with pytest.raises(UserError, match=r"is of 1x64x96 .* and puts out logits: ask for this --input-size"):
        cases([Candidate(logits_graph)], sizes, backends, batches)


def test_a_graph_is_exported_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def exported(*arguments: Any) -> int:
        asked.append(arguments)
        return len(asked)

    monkeypatch.setattr("rtseg.speed.row.export", exported)
    candidate = Candidate(segmenter)
    outputs: tuple[Output, ...] = ("logits", "class_map", "logits")
    assert [candidate.graph(SHAPE, output) for output in outputs] == [1, 2, 1]
    assert asked == [(segmenter, SHAPE, "logits"), (segmenter, SHAPE, "class_map")]
    assert Candidate(segmenter).graph(SHAPE, "logits") == 3


# --- DDRNet's protocol


def test_ddrnets_protocol(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[nn.Module] = []
    shapes: set[tuple[int, ...]] = set()
    logits = Segmenter.logits

    def spy(self: Segmenter, image: Tensor) -> Tensor:
        timed.append(self)
        shapes.add(tuple(image.shape))
        return logits(self, image)

    monkeypatch.setattr(Segmenter, "logits", spy)
    before = count_batchnorm(segmenter)
    begin = time.perf_counter()
    found = ddrnet_protocol(segmenter, (40, 56), torch.device("cpu"), seconds=0.3)
    assert time.perf_counter() - begin < 10
    assert found["fps"] == pytest.approx(1000 / found["latency_ms"])
    assert 0.05 < found["iterations"] * found["latency_ms"] / 300 < 20
    assert json.loads(json.dumps(found)) == found
    assert shapes == {(1, 3, 40, 56)}
    (network,) = set(timed)
    assert network is not segmenter
    assert count_batchnorm(network) == 0
    assert count_batchnorm(segmenter) == before
    # Left out, not folded: no weight has changed.
    own = dict(segmenter.named_parameters())
    assert all(torch.equal(value, own[name]) for name, value in network.named_parameters())


def test_ddrnets_protocol_once_for_each_network_and_size(candidate: Candidate) -> None:
    wanted = cases([candidate], [(16, 16), (24, 16)], ["reference", "eager"], [1, 2])
    found = benchmark(wanted, device="cpu", ddrnet_seconds=0.01, **QUICK).ddrnet_protocol
    assert [(r["network"], r["input_size"]) for r in found] == [
        ("rtformer_slim gfa+ca", [16, 16]), ("rtformer_slim gfa+ca", [24, 16])
    ]  # fmt: skip


# --- what the figures say


@pytest.mark.parametrize(
    ("rows", "bound"),
    [
        ({"eager:fp32": 9.0, "cudagraph:fp32": 3.0}, 1),
        ({"eager:fp32": 4.0, "cudagraph:fp32": 3.0}, 0),
        ({"eager:fp32": 9.0, "cudagraph:fp16": 3.0}, 0),
        ({"eager:fp16": 9.0, "cudagraph:fp16": 3.0, "eager:fp32": 9.0, "cudagraph:fp32": 8.0}, 1),
        ({"eager:fp32": 9.0}, 0),
        ({"reference:fp32": 9.0, "cudagraph:fp32": 1.0}, 0),
    ],
)
def test_launch_bound(rows: dict[str, float], bound: int) -> None:
    found = Report(STEADY, tuple(row(backend=name, class_map=took(ms)) for name, ms in rows.items())).launch_bound()
    assert len(found) == bound
    assert all("as a CUDA graph" in line for line in found)


@pytest.mark.parametrize(
    "other", [{"input_size": (9, 9)}, {"batch_size": 2}, {"weights": "v"}, {"attention": "b"}, {"model": "n"}]
)
def test_launch_bound_compares_like_with_like(other: dict[str, Any]) -> None:
    eager = row(class_map=took(9))
    graph = row(backend="cudagraph:fp32", class_map=took(1))
    assert len(Report(STEADY, (eager, graph)).launch_bound()) == 1
    assert Report(STEADY, (eager, dataclasses.replace(graph, **other))).launch_bound() == []
    assert Report(STEADY, (eager, row(backend="cudagraph:fp32", refused="wrong"))).launch_bound() == []


def test_doubts_are_said() -> None:
    drifting = Timing.of([10.0] * 10 + [20.0] * 10, batch_size=1, warmup_iterations=1)
    unsteady = Timing.of(
        [10.0, 10.0, 10.0, 10.0, 30.0, 30.0, 10.0, 10.0, 10.0, 10.0], batch_size=1, warmup_iterations=1
    )
    steady = took(10)
    for load, class_map_time, network, said in (
        (0, steady, steady, []),
        (99, steady, steady, ["other work kept 99 cores"]),
        (0, drifting, steady, ["m a, eager:fp32, 8x8, class map: drifted by +100%"]),
        (0, steady, drifting, ["network: drifted by +100%"]),
        (0, steady, unsteady, ["network: unsteady"]),
        (0.2, None, None, []),
        (1, drifting, unsteady, ["other work", "drifted", "unsteady"]),
    ):
        conditions = {"device": {"name": "x", "cores": 2, "cores_busy_with_other_work": load}}
        found = Report(conditions, (row(class_map=class_map_time, network=network),)).doubts()
        assert len(found) == len(said)
        assert all(part in doubt for part, doubt in zip(said, found, strict=True))
    assert Report({"device": {"name": "a GPU"}}, (row(class_map=steady),)).doubts() == []


@pytest.mark.parametrize(
    ("name", "attention", "macs"),
    [("rtformer_slim", "gfa+ca", 4.561e9), ("rtformer_base", "gfa+ca", 17.531e9)],
)
def test_macs_are_those_of_the_reference(name: str, attention: str, macs: float) -> None:
    assert count_macs(create_model(name, 150, attention=attention), (512, 512)) == pytest.approx(macs, abs=5e5)


def test_macs_are_of_the_network_as_trained(segmenter: Segmenter) -> None:
    """Folding and half precision change neither them nor the parameters."""
    macs = count_macs(segmenter, (64, 96))
    assert count_macs(deploy(segmenter).segmenter, (64, 96)) == macs
    parameters = count_parameters(segmenter)
    assert count_macs(segmenter.bfloat16(), (64, 96)) == macs
    assert count_parameters(segmenter) == parameters


def test_texture_is_a_picture_and_always_the_same() -> None:
    picture = texture((60, 90))
    assert picture.shape == (60, 90, 3)
    assert picture.std() > 20
    np.random.seed(5)
    assert np.array_equal(picture, texture((60, 90)))


def test_weights_hash_names_weights_not_files(segmenter: Segmenter) -> None:
    before = weights_hash(segmenter)
    with torch.no_grad():
        next(segmenter.aux_head.parameters()).add_(1)
    assert weights_hash(segmenter) == before
    with torch.no_grad():
        next(segmenter.backbone.parameters()).add_(1)
    assert weights_hash(segmenter) != before


# --- bad input


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((1, 0, 512), {}, "height 0 must be at least 1"),
        ((1, 512, -1), {}, "width -1"),
        ((0, 16, 16), {}, "batch size 0"),
        ((1, 16, 16), {"threads": 0}, "threads 0"),
        ((1, 16, 16), {"min_iterations": 0}, "at least one iteration"),
        ((1, 16, 16), {"device": "gpu"}, "unknown device 'gpu'"),
    ],
)
def test_bad_conditions_are_refused(
    candidate: Candidate, shape: tuple[int, int, int], options: dict[str, Any], message: str
) -> None:
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match=message):
        benchmark([Case(candidate, "eager", shape)], **{"device": "cpu", **QUICK, **options})
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("eagr", "unknown backend 'eagr'. Did you mean 'eager'"),
        ("eager:fp8", "no precision 'fp8'"),
        ("cudagraph", "runs on cuda, not on cpu"),
    ],
)
def test_a_bad_backend_is_refused_before_anything_is_built(candidate: Candidate, backend: str, message: str) -> None:
    told: list[str] = []
    wanted = [Case(candidate, "reference", SHAPE), Case(candidate, backend, SHAPE)]
    with pytest.raises(UserError, match=message):
        benchmark(wanted, device="cpu", on_build=told.append, **QUICK)
    assert told == []


@pytest.mark.parametrize("backend", ["reference", "eager", "onnxruntime"])
def test_a_size_that_a_rival_does_not_take_is_refused(backend: str) -> None:
    pytest.importorskip("torchvision")
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    rival = Candidate(create_rival("lraspp_mobilenet_v3_large", 3))
    with pytest.raises(UserError, match="height 16 must be at least 32"):
        benchmark([Case(rival, backend, (1, 16, 64))], device="cpu", **QUICK)


def test_a_rival_beside_ours() -> None:
    pytest.importorskip("torchvision")
    rival = create_rival("lraspp_mobilenet_v3_large", 3)
    wanted = cases([Candidate(rival)], [(33, 65)], ["reference", "eager"])
    found = benchmark(wanted, device="cpu", ddrnet_seconds=0.01, **QUICK)
    reference, eager = found.networks
    assert eager.name == "lraspp_mobilenet_v3_large, eager:fp32, 33x65"
    assert eager.parameters == sum(p.numel() for p in rival.parameters())
    assert eager.batchnorm is not None
    assert eager.batchnorm["folded"] > 30
    assert eager.batchnorm["left"] == 0
    assert reference.class_map is not None
    assert eager.class_map is not None, eager.refused
    assert found.ddrnet_protocol[0]["fps"] > 0


@pytest.mark.parametrize("name", ["gpu", "meta", "cuda:99", "xla"])
def test_bad_device_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"cpu"):
        choose_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_is_refused() -> None:
    with pytest.raises(UserError, match="sees 0 cuda devices"):
        choose_device("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda(segmenter: Segmenter) -> None:
    backends = ["reference", "eager", "eager:fp16", "cudagraph", "cudagraph:fp16"]
    found = benchmark(
        cases([Candidate(segmenter)], [(64, 64)], backends),
        device="cuda", stages=True, ddrnet_seconds=0.1, **{**QUICK, "min_seconds": 0.1},
    )  # fmt: skip
    for r in found.networks:
        assert r.refused is None
        assert r.class_map is not None
        assert r.network is not None
        assert r.network.median_ms > 0
        assert r.kernels
        assert r.peak_memory_bytes
        assert next(iter(r.stages)) == "copy to device"
        assert list(r.stages)[-1] == "copy to host"
    eager, graph = found.networks[1], found.networks[3]
    assert eager.peak_memory_bytes
    assert eager.parameters
    assert eager.peak_memory_bytes > 4 * eager.parameters * 0.9
    assert graph.class_map
    assert eager.class_map
    assert graph.class_map.median_ms < eager.class_map.median_ms
    assert Report.from_json(found.to_json()) == found
