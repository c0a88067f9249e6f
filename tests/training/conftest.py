"""A tiny network, so that whole trainings take seconds."""

from typing import Any

import pytest


@pytest.fixture
def tiny_model() -> dict[str, Any]:
    """Arguments of SegmentationModule for a network of 8 channels."""
    return {
        "name": "rtformer_slim",
        "attention": "gfa+ca",
        "options": {"base_channels": 8, "head_channels": 8, "spp_channels": 8, "cross_size": 2, "drop_path": 0.2},
    }
