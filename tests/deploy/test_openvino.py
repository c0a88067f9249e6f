"""What OpenVINO leaves behind in the process."""

import ctypes
import gc
import sys
from pathlib import Path

import pytest
import torch

from rtseg.deploy.device import available_cores
from rtseg.deploy.engines import create_engine
from rtseg.deploy.engines.openvino import OpenVINO
from rtseg.deploy.graph import Graph
from tests.helpers.networks import SHAPE

pytest.importorskip("openvino")


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = [("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's maps of memory")
def test_signals_have_a_stack_after_engines_have_gone_in_any_order(logits_graph: Graph) -> None:
    """Without one the end of a loader's process ends this one, and no handler can say why."""
    engines = [create_engine("openvino", logits_graph, SHAPE) for _ in range(2)]
    while engines:
        engines.pop(0)
        gc.collect()
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    assert stack.address is None or is_mapped(stack.address)


def test_a_version_that_refuses_the_limit_of_kernels_runs_all_the_same(
    logits_graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The property that sets it is listed nowhere; OpenVINO refuses those that it does not know by name."""
    monkeypatch.setattr("rtseg.deploy.engines.openvino._CAPACITY", "CPU_NO_SUCH_CAPACITY")
    images = torch.zeros(*SHAPE, 3, dtype=torch.uint8)
    assert create_engine("openvino", logits_graph, SHAPE).logits(images).isfinite().all()


def is_mapped(address: int) -> bool:
    ranges = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(begin, 16) <= address < int(end, 16) for begin, end in ranges)


@pytest.mark.skipif(available_cores() < 2, reason="one core has nothing to choose from")
def test_engines_of_one_thread_each_do_not_share_a_core(logits_graph: Graph) -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        engine = create_engine("openvino", logits_graph, SHAPE)
    finally:
        torch.set_num_threads(threads)
    assert isinstance(engine, OpenVINO)
    assert engine._request.get_compiled_model().get_property("ENABLE_CPU_PINNING") is False
