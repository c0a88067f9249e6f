"""What is set before anything is imported; the fixtures are those of helpers/fixtures.py."""

import gc
import os

import pytest

from tests.helpers import fresh

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
# For the commands that tests start, as set_num_threads of the fixtures. And oneDNN crashes where two threads share the
# backward pass of a strided 1x1 convolution of 8 channels over a batch of 3, as tiny networks have it (PyTorch 2.15).
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RTSEG_ENGINE"] = "eager"  # what "auto" is: else each predictor would measure the engines
os.environ.pop("COLUMNS", None)  # a worker of xdist has one, which would narrow what is piped

# By default a tenth of the processor time goes into looking for garbage, of which there is little.
gc.set_threshold(10_000, 20, 50)


def pytest_configure(config: pytest.Config) -> None:
    """The process of xdist that hands out the tests needs neither the fixtures nor the seconds of their imports."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("tests.helpers.fixtures")
    else:
        fresh.share()
