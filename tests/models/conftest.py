"""The tiny network of the golden vectors, and its files in tests/golden."""

import gzip
from pathlib import Path

import pytest

from rtseg.models import Segmenter, create_model

GOLDEN = Path(__file__).parents[1] / "golden"


def create_tiny() -> Segmenter:
    return create_model(
        "rtformer_slim", 7, attention="gfa:groups=4+ca", base_channels=8, head_channels=8, spp_channels=16,
        cross_size=4, injection=(True, True), drop_path=0.0,
    )  # fmt: skip


@pytest.fixture
def tiny() -> Segmenter:
    return create_tiny()


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def tiny_pdparams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the tiny network as `paddle.save` wrote them."""
    path = tmp_path_factory.mktemp("paddle") / "model.pdparams"
    path.write_bytes(gzip.decompress((GOLDEN / "rtformer_tiny_test.pdparams.gz").read_bytes()))
    return path
