"""Comparisons measured quickly, whose trainings need not import torch again."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtseg.speed import timing
from rtseg.studies.compare import speed
from tests.helpers.compare import CONFIG
from tests.helpers.fresh import quick_python


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    """Eager PyTorch alone, so that no network is exported; tests of the best engine set one. No warm-up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "best_backend", lambda device: None)
        patch.setattr(timing, "warm_up", lambda run, seconds: 0)
        yield


@pytest.fixture(scope="module", autouse=True)
def _processes_start_quickly() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", quick_python())
        yield


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    file.write_text(CONFIG)
    return file
