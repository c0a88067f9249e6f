import dataclasses
import json
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rtseg.deploy.benchmark import (
    Candidate,
    Timing,
    benchmark,
    count_macs,
    measure,
    run_benchmark,
    texture,
    weights_hash,
)
from rtseg.deploy.device import choose_device
from rtseg.deploy.timing import measure_together
from rtseg.errors import UserError
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter

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


def test_report(segmenter: Segmenter) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    other = create_model("rtformer_slim", 3, attention="sa", base_channels=8)
    torch.set_rng_state(state)
    report = benchmark(
        [Candidate(segmenter, weights_hash(segmenter)), Candidate(other)],
        (40, 56),
        device="cpu",
        batch_size=2,
        threads=1,
        **QUICK,
    )
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    assert segmenter.training
    data = json.loads(report.to_json())
    mine, untrained = data["networks"]
    assert mine["weights"].startswith("sha256:")
    assert (untrained["weights"], untrained["attention"]) == ("random (untrained)", "sa")
    assert mine["num_classes"] == 5
    assert mine["parameters"] == sum(p.numel() for n, p in segmenter.named_parameters() if "aux_head" not in n)
    for row in data["networks"]:
        assert row["class_map"]["median_ms"] > 0
        assert row["class_map"]["fps"] == pytest.approx(2000 / row["class_map"]["median_ms"])
        assert row["network"]["iterations"] >= 3
    conditions = data["conditions"]
    assert conditions["input_size"] == [40, 56]
    assert conditions["device"]["threads"] == 1
    assert conditions["device"]["name"]
    assert conditions["batchnorm"] == "not folded"
    assert (conditions["precision"], conditions["memory_format"]) == ("float32", "channels_last")


@pytest.mark.parametrize(
    ("name", "attention", "macs"),
    [("rtformer_slim", "gfa+ca", 4.561e9), ("rtformer_base", "gfa+ca", 17.531e9)],
)
def test_macs_are_those_of_the_reference(name: str, attention: str, macs: float) -> None:
    assert count_macs(create_model(name, 150, attention=attention), (512, 512)) == pytest.approx(macs, abs=5e5)


def test_doubts_are_said(segmenter: Segmenter) -> None:
    report = benchmark([Candidate(segmenter)], (16, 16), device="cpu", **QUICK)
    steady = Timing.of([10.0] * 20, batch_size=1, warmup_iterations=1)
    drifting = Timing.of([10.0] * 10 + [20.0] * 10, batch_size=1, warmup_iterations=1)
    for load, timing, count in ((0, steady, 0), (99, steady, 1), (0, drifting, 1)):
        network = dataclasses.replace(report.networks[0], class_map=timing, network=steady)
        conditions = {**report.conditions, "device": {"name": "x", "cores": 2, "cores_busy_with_other_work": load}}
        changed = dataclasses.replace(report, networks=(network,), conditions=conditions)
        assert len(changed.doubts()) == count


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


def test_command(segmenter: Segmenter, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter.save_pretrained(tmp_path / "weights")
    Image.fromarray(texture((50, 70))).save(tmp_path / "street.png")
    output = tmp_path / "new" / "speed.json"
    arguments: dict[str, Any] = {"input_size": (32, 32), "device": "cpu", "image": tmp_path / "street.png", **QUICK}
    run_benchmark([str(tmp_path / "weights")], output=output, attentions=["sa"], num_classes=4, **arguments)
    printed = capsys.readouterr().out
    last = json.loads(printed.splitlines()[-1])
    assert last == json.loads(output.read_text())
    assert [row["attention"] for row in last["networks"]] == ["gfa+ca", "sa"]
    assert last["networks"][0]["weights"] == weights_hash(segmenter)
    assert last["conditions"]["input"] == "given picture"
    assert "picture → class map" in printed
    with pytest.raises(UserError, match="exists"):
        run_benchmark(output=output, **arguments)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"input_size": (0, 512)}, "height 0"),
        ({"input_size": (512, -1)}, "width -1"),
        ({"batch_size": 0}, "batch size 0"),
        ({"threads": 0}, "threads 0"),
        ({"memory_format": "nhwc"}, "channels_last"),
    ],
)
def test_bad_conditions_are_refused(segmenter: Segmenter, bad: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"input_size": (32, 32), "device": "cpu", **QUICK, **bad}
    with pytest.raises(UserError, match=message):
        benchmark([Candidate(segmenter)], **arguments)


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
    report = benchmark([Candidate(segmenter)], (64, 64), device="cuda", **QUICK)
    row = report.networks[0]
    assert row.class_map.median_ms > row.network.median_ms > 0
    assert row.peak_memory_bytes
    assert row.peak_memory_bytes > 4 * row.parameters
