"""PSMNet against the authors' own on the same weights: features, disparities, loss, gradients."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rtseg.tasks.stereo.authors_names import from_authors
from rtseg.tasks.stereo.loss import stereo_loss
from rtseg.tasks.stereo.psmnet import PSMNet
from tests.helpers.psmnet import authors_state

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(shared: Path) -> dict[str, Any]:
    return dict(json.loads((shared / "golden/psmnet.json").read_text()))


@pytest.fixture(scope="module")
def vectors(shared: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with np.load(shared / "golden/psmnet.io.npz") as io:
        yield io


@pytest.fixture
def network(told: dict[str, Any]) -> PSMNet:
    network = PSMNet(told["maxdisp"])
    assert network.load_authors_state(authors_state(told["state_shapes"])) == []
    return network


def test_it_has_the_authors_parameters(told: dict[str, Any], network: PSMNet) -> None:
    assert sum(parameter.numel() for parameter in network.parameters()) == told["parameters"] == 5_224_768
    assert set(from_authors(told["state_shapes"])) == set(network.state_dict())


def test_features_and_disparities(network: PSMNet, vectors: np.lib.npyio.NpzFile) -> None:
    network.eval()
    left, right = (torch.from_numpy(vectors[side]) for side in ("left", "right"))
    with torch.no_grad():
        features, disparity = network.features(left).numpy(), network(left, right).numpy()
    largest = np.abs(vectors["features_left"]).max()
    np.testing.assert_allclose(features, vectors["features_left"], rtol=0, atol=1e-4 * largest)
    # Scores of random weights reach 1e8. At one pixel of 131,072 two are equal up to float32's rounding, and the
    # expected disparity lies at one of them or halfway, as the processor rounds.
    wrong = np.abs(disparity - vectors["disparity"]) > 1e-3
    assert wrong.sum() <= 2
    assert np.abs(disparity - vectors["disparity"]).max() < 1


def test_loss_and_gradients(told: dict[str, Any], network: PSMNet, vectors: np.lib.npyio.NpzFile) -> None:
    network.train()
    left, right, target = (torch.from_numpy(vectors[name]) for name in ("left", "right", "target"))
    outputs = network(left, right)
    loss = sum(stereo_loss(outputs, target, told["maxdisp"]).values())
    assert isinstance(loss, Tensor)
    loss.backward()
    assert loss.item() == pytest.approx(told["train_loss"], rel=1e-3)
    np.testing.assert_allclose(outputs[2].detach().numpy(), vectors["train/disparity3"], rtol=0, atol=1e-2)
    gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
    norms = from_authors(told["train_grad_norm"])
    assert norms.keys() == gradients.keys()
    for key, norm in norms.items():
        # The largest pool is one position: BatchNorm over two images, behind which hardly a gradient is left.
        close = 3e-2 if key.startswith("features.pools.0") else 1e-2
        gradient = gradients[key]
        assert gradient is not None
        assert gradient.norm().item() == pytest.approx(norm, rel=close), key
