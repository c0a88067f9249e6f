"""A network of one's own, with a card and logits and no more, is exported and timed as ours are."""

import pickle
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rtseg.models.model_card import ModelCard
from rtseg.models.network import Network
from rtseg.speed.benchmark import Candidate, Report, benchmark, cases
from tests.helpers.speed import QUICK, without_missing


class Own(Network):
    """Four convolutions, one of them with BatchNorm that folds."""

    def __init__(self) -> None:
        super().__init__()
        self.card = ModelCard("own", "none", 4)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 4, 1)
        )

    def logits(self, image: Tensor) -> Tensor:
        return self.layers(image)


def test_it_is_timed() -> None:
    network = Own().eval()
    backends = without_missing("reference", "eager", "onnxruntime")
    found = benchmark(cases([Candidate(network)], backends, replace(QUICK, sizes=[(32, 48)])), QUICK, ddrnet=True)
    assert [row.name for row in found.networks] == [f"own, {backend}:fp32, 32x48" for backend in backends]
    for row in found.networks:
        assert row.refused is None
        assert row.class_map is not None
        assert row.parameters == sum(p.numel() for p in network.parameters())
        assert "rival" not in row.engine
    eager = found.networks[1]
    assert eager.batchnorm is not None
    assert (eager.batchnorm["folded"], eager.batchnorm["left"]) == (1, 0)
    assert found.ddrnet_protocol[0]["network"] == "own"
    assert Report.from_json(found.to_json()) == found


def test_one_that_cannot_be_sent_to_another_process_is_timed_without_its_memory() -> None:
    network = Own().eval()
    network.activation = lambda x: x  # type: ignore[assignment]
    (row,) = benchmark(
        cases([Candidate(network)], ["eager"], replace(QUICK, sizes=[(32, 48)])), QUICK, memory=True
    ).networks
    assert row.class_map is not None
    assert row.peak_memory_bytes is None


def test_what_it_answers_by_itself() -> None:
    network = Own().eval()
    assert network.facts() == {}
    again = pickle.loads(pickle.dumps(network.recipe()))()
    image = torch.randn(1, 3, 32, 48)
    assert torch.equal(again.logits(image), network.logits(image))


def test_without_logits_it_says_so() -> None:
    with pytest.raises(NotImplementedError):
        Network().logits(torch.zeros(1, 3, 32, 32))
