"""What every test may use: the real data and golden vectors, where they lie beside the checkout."""

import os
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import pytest
import torch

torch.set_num_threads(1)  # the tests run in two processes; more threads than cores are slower than one

SHARED = Path(os.environ.get("RTSEG_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real images and golden vectors; the test is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data: RTSEG_SHARED={SHARED} is not a folder")
    return SHARED
