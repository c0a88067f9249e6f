"""What is measured: engines in turns, in all sizes and batches, reported with conditions; bad input."""

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch

from rtseg.deploy.device import choose_device
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.speed.benchmark import (
    Candidate,
    Case,
    Conditions,
    Report,
    benchmark,
    cases,
    count_macs,
    texture,
)
from rtseg.speed.parity import Parity
from rtseg.speed.progress import Progress
from rtseg.speed.rivals import create_rival
from tests.helpers.networks import SHAPE
from tests.helpers.speed import QUICK, row, spy_on_pictures, without_missing


@pytest.fixture(scope="module")
def report(candidate: Candidate) -> Report:
    """Every engine of a CPU that starts quickly."""
    backends = without_missing("reference", "eager", "eager:bf16", "onnxruntime", "onnxruntime-plain", "openvino")
    conditions = Conditions(
        sizes=[SHAPE[1:]], device="cpu", threads=1, warmup_seconds=0.02, rounds=20, seconds=0.1, most_seconds=1.0
    )
    return benchmark(cases([candidate], backends, conditions), conditions, stages=True)


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
        network = next((timing for name, timing in r.stages.items() if name.endswith("network")), None)
        assert network == r.network


@pytest.mark.slow
def test_stages_add_up_to_the_headline(report: Report) -> None:
    """Slow, because other work on the machine fails it."""
    for r in report.networks:
        assert r.class_map is not None
        total = sum(timing.p5_ms for timing in r.stages.values())
        assert 0.5 < total / r.class_map.p5_ms < 2, r.name


def test_stages_only_where_they_are_asked_for(candidate: Candidate) -> None:
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], QUICK).networks
    assert (r.stages, r.overlay) == ({}, None)
    (r,) = benchmark([Case(candidate, "eager", SHAPE)], QUICK, stages=True).networks
    assert list(r.stages) == ["normalize", "network", "class map"]


def test_what_is_measured_and_the_settings_stay(segmenter: Segmenter) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    before = {key: value.clone() for key, value in segmenter.state_dict().items()}
    wanted = [Case(Candidate(segmenter), "eager", (1, 16, 24))]
    found = benchmark(wanted, replace(QUICK, threads=3), ddrnet=True)
    assert found.networks[0].engine["threads"] == found.conditions["device"]["threads"] == 3
    assert found.networks[0].weights == "random (untrained)"
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert segmenter.training
    assert all(torch.equal(before[key], value) for key, value in segmenter.state_dict().items())


def test_several_networks_sizes_and_batches(segmenter: Segmenter) -> None:
    other = create_model("ddrnet_23_slim", 3, base_channels=8, spp_channels=8)
    sizes, batches = [(16, 24), (33, 17)], [1, 3]
    wanted = cases([Candidate(segmenter), Candidate(other)], ["eager"], replace(QUICK, sizes=sizes, batches=batches))
    assert len(wanted) == 8
    told: list[str] = []
    found = benchmark(wanted, QUICK, progress=Progress(building=told.append))
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
    found = benchmark(wanted, QUICK, ddrnet=True)
    assert all(r.class_map is not None for r in found.networks)
    assert [r.backend for r in found.networks] == ["reference:fp32"] * 2 + ["eager:fp32"] * 2
    assert len(found.ddrnet_protocol) == 1


def test_images_are_resized_and_taken_in_turn(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [np.full((10 * k, 7, 3), 40 * k, np.uint8) for k in (1, 2, 3)]
    seen = spy_on_pictures(monkeypatch)
    for batch, expected in ((1, [[40], [80], [120]]), (2, [[40, 80], [80, 120], [120, 40]])):
        seen.clear()
        found = benchmark([Case(candidate, "eager", (batch, 16, 24))], QUICK, images=images)
        assert found.conditions["input"] == "3 given image(s)"
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
    eager, *others = (r.cell_candidates for r in benchmark(wanted, QUICK, images=images).networks)
    busy, flat = (benchmark(wanted[:1], QUICK, images=[image]).networks[0].cell_candidates for image in images)
    assert flat is not None
    assert busy is not None
    assert flat != pytest.approx(busy, rel=0.01)
    assert eager == pytest.approx((flat + busy) / 2)
    assert others == pytest.approx([eager] * len(others), rel=0.005)


def test_one_image_in_a_batch_is_shifted(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spy_on_pictures(monkeypatch)
    benchmark([Case(candidate, "eager", (3, 16, 24))], QUICK)
    first, second, third = seen[0]
    assert torch.equal(first, torch.from_numpy(texture((16, 24))))
    assert torch.equal(second, first.roll(7, 1))
    assert torch.equal(third, first.roll(14, 1))


# --- bad input


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 0, 512), "height=0 must be a whole number of at least 1"),
        ((1, 512, -1), "width=-1"),
        ((0, 16, 16), "batch size=0"),
    ],
)
def test_bad_shapes_are_refused(candidate: Candidate, shape: tuple[int, int, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Case(candidate, "eager", shape)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("eagr", "unknown engine 'eagr'. Did you mean 'eager'"),
        ("eager:fp8", "no precision 'fp8'"),
        ("cudagraph", "runs on cuda, not on cpu"),
    ],
)
def test_a_bad_backend_is_refused_before_anything_is_built(candidate: Candidate, backend: str, message: str) -> None:
    told: list[str] = []
    wanted = [Case(candidate, "reference", SHAPE), Case(candidate, backend, SHAPE)]
    with pytest.raises(UserError, match=message):
        benchmark(wanted, QUICK, progress=Progress(building=told.append))
    assert told == []


@pytest.mark.parametrize("backend", ["reference", "eager", "onnxruntime"])
def test_a_size_that_a_rival_does_not_take_is_refused(backend: str) -> None:
    pytest.importorskip("torchvision")
    if backend == "onnxruntime":
        pytest.importorskip("onnxruntime")
    rival = Candidate(create_rival("lraspp_mobilenet_v3_large", 3))
    with pytest.raises(UserError, match="height=16 must be at least 32"):
        benchmark([Case(rival, backend, (1, 16, 64))], QUICK)


def test_a_rival_beside_ours() -> None:
    pytest.importorskip("torchvision")
    rival = create_rival("lraspp_mobilenet_v3_large", 3)
    wanted = cases([Candidate(rival)], ["reference", "eager"], replace(QUICK, sizes=[(33, 65)]))
    found = benchmark(wanted, QUICK, ddrnet=True)
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
        [Case(Candidate(segmenter), backend, (1, 64, 64)) for backend in backends],
        replace(QUICK, device="cuda", seconds=0.1),
        stages=True,
        ddrnet=True,
    )
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
