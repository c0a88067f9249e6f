"""A tiny network, so that whole trainings take seconds."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def _hang_up() -> Iterator[None]:
    """Trainings leave SIGHUP ignored where it is, as in tests that were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def tiny_model() -> dict[str, Any]:
    """Arguments of SegmentationModule for a network of 8 channels."""
    return {
        "name": "rtformer_slim",
        "attention": "gfa+ca",
        "options": {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2},
    }
