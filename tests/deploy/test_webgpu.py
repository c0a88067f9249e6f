"""ONNX Runtime's plug-in for WebGPU: what is said where it cannot run. Where it can, `test_engines` runs it."""

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from rtseg.deploy.engines import create_engine, parse_backend
from rtseg.deploy.engines import onnxruntime_webgpu as engine
from rtseg.deploy.graph import OPEN, Graph
from rtseg.errors import UserError
from tests.helpers.engines import CPU
from tests.helpers.networks import SHAPE

KIND, _ = parse_backend("onnxruntime-webgpu")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """A plug-in that loads, and sees no GPU."""
    found = SimpleNamespace(get_library_path=lambda: "plugin.so", get_ep_name=lambda: "WebGpuExecutionProvider")
    runtime = pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_webgpu", found)
    monkeypatch.setattr(runtime, "register_execution_provider_library", lambda name, path: None)
    monkeypatch.setattr(runtime, "get_ep_devices", lambda: [SimpleNamespace(ep_name="CPUExecutionProvider")])
    engine._gpus.cache_clear()
    yield monkeypatch
    engine._gpus.cache_clear()


def test_a_missing_plugin_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_webgpu", None)
    with pytest.raises(UserError, match=r"onnxruntime_ep_webgpu is missing here .*pip install 'rtseg\[webgpu\]'"):
        KIND.check("fp32", CPU)
    assert KIND.measured(CPU) == []


def test_a_machine_without_a_gpu_is_named(plugin: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="finds no GPU here: install a driver with Vulkan"):
        KIND.check("fp32", CPU)


def test_a_plugin_that_cannot_be_loaded_is_named(plugin: pytest.MonkeyPatch) -> None:
    def refuse(name: str, path: str) -> None:
        raise RuntimeError("libvulkan.so.1 is missing")

    plugin.setattr("onnxruntime.register_execution_provider_library", refuse)
    with pytest.raises(UserError, match=r"cannot load its plug-in for WebGPU: .*libvulkan\.so\.1"):
        KIND.check("fp32", CPU)


def test_it_is_never_the_best_unmeasured_and_takes_one_size(plugin: pytest.MonkeyPatch, logits_graph: Graph) -> None:
    gpu = SimpleNamespace(ep_name="WebGpuExecutionProvider")
    plugin.setattr("onnxruntime.get_ep_devices", lambda: [gpu])
    KIND.check("fp32", CPU)
    assert KIND.preferred(CPU) == {}
    with pytest.raises(UserError, match="built for images of one size"):
        create_engine("onnxruntime-webgpu", logits_graph, OPEN)


def test_operators_may_not_fall_back_to_the_cpu(plugin: pytest.MonkeyPatch, logits_graph: Graph) -> None:
    asked: list[Any] = []

    class Session:
        def __init__(self, model: bytes, options: Any, providers: Any) -> None:
            asked.extend([options.entries, options.devices, providers])
            raise RuntimeError("nodes that are assigned to the default CPU EP")

    class Options(SimpleNamespace):
        def add_session_config_entry(self, key: str, value: str) -> None:
            self.entries = {key: value}

        def add_provider_for_devices(self, devices: list[Any], settings: dict[str, str]) -> None:
            self.devices = devices

    gpus = [SimpleNamespace(ep_name="WebGpuExecutionProvider") for _ in range(2)]
    plugin.setattr("onnxruntime.get_ep_devices", lambda: gpus)
    plugin.setattr("onnxruntime.SessionOptions", Options)
    plugin.setattr("onnxruntime.InferenceSession", Session)
    with pytest.raises(UserError, match="cannot run the exported graph: nodes that are assigned"):
        create_engine("onnxruntime-webgpu", logits_graph, SHAPE)
    assert asked == [{"session.disable_cpu_ep_fallback": "1"}, gpus[:1], None]
