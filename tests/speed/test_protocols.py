"""DDRNet's way to measure."""

import json
import time
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rtseg.deploy.fuse import count_batchnorm
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import (
    Candidate,
    benchmark,
    cases,
)
from rtseg.speed.protocols import ddrnet_protocol
from tests.helpers.speed import QUICK

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
    wanted = cases([candidate], ["reference", "eager"], replace(QUICK, sizes=[(16, 16), (24, 16)], batches=[1, 2]))
    found = benchmark(wanted, QUICK, ddrnet=True).ddrnet_protocol
    assert [(r["network"], r["input_size"]) for r in found] == [
        ("rtformer_slim gfa+ca", [16, 16]), ("rtformer_slim gfa+ca", [24, 16])
    ]  # fmt: skip
