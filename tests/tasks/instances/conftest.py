"""A small data set of drawn things."""

from pathlib import Path

import pytest

from rtseg.scenes import make_data


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 and 8 images of 64x80 in COCO's layout."""
    return make_data("coco", 24, tmp_path_factory.mktemp("coco") / "data", n_val=8, size=(64, 80), seed=3)
