"""What is counted of a network, and what it is measured on."""

import numpy as np
import pytest
import torch

from rtseg.deploy.fuse import deploy
from rtseg.models import create_model
from rtseg.models.segmenter import Segmenter
from rtseg.models.weights import weights_hash
from rtseg.speed.benchmark import (
    count_macs,
    count_parameters,
    texture,
)


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
