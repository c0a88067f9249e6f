"""A predictor that was used goes on in forked processes, on each engine."""

import os
import time

import numpy as np
import pytest
import torch

from rtseg.deploy.predictor import Predictor
from rtseg.models.segmenter import Segmenter
from rtseg.speed.benchmark import texture

IMAGE = texture((200, 300))
SECONDS = 60.0
ENGINES = [
    "eager",
    *(pytest.param(engine, marks=pytest.mark.slow) for engine in ("onnxruntime", "openvino", "mnn")),
]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_forked_child_predicts(engine: str, shared_segmenter: Segmenter) -> None:
    pytest.importorskip({"eager": "torch", "mnn": "MNN"}.get(engine, engine))
    torch.set_num_threads(2)  # of which the child has one
    predictor = Predictor(shared_segmenter, engine=engine, device="cpu")
    expected = predictor(IMAGE)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if (predictor(IMAGE) == expected).mean() > 0.999 else 3)
        finally:
            os._exit(4)
    end = time.monotonic() + SECONDS
    while (status := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.02)
    if status[0] == 0:
        os.kill(child, 9)
        os.waitpid(child, 0)
        pytest.fail(f"the child hangs for {SECONDS} s")
    assert os.waitstatus_to_exitcode(status[1]) == 0
    assert np.array_equal(predictor(IMAGE), expected)
