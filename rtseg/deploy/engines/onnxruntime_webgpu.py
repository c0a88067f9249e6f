"""ONNX Runtime on a GPU without CUDA: its plug-in for WebGPU, which runs on Vulkan, Direct3D 12 or Metal."""

import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import torch

from rtseg.deploy.engines.onnxruntime import OnnxRuntime
from rtseg.deploy.engines.registry import register_engine
from rtseg.errors import UserError, first_line


@register_engine("onnxruntime-webgpu")
class OnnxRuntimeWebGpu(OnnxRuntime):
    """ONNX Runtime's plug-in for WebGPU, on any GPU with Vulkan, Direct3D 12 or Metal; then `class_map` on the CPU. Run
    on a software Vulkan so far, not yet on a GPU.

    PyTorch has no such device: images, logits and class maps lie on the CPU. It is built for one size: what computes
    on an open size would run on the CPU.
    """

    devices = ("cpu",)
    libraries: ClassVar[Mapping[str, str]] = {
        "onnxruntime": "rtseg[webgpu]",
        "onnxruntime_ep_webgpu": "rtseg[webgpu]",
    }
    is_reference = False
    open_sizes = False

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32"] if device.type == "cpu" and not cls.missing() else []

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        if not _gpus():
            raise UserError(
                "ONNX Runtime's WebGPU finds no GPU here: install a driver with Vulkan, Direct3D 12 or Metal, or leave "
                "'onnxruntime-webgpu' out"
            )

    @staticmethod
    def _providers(options: Any, device: torch.device) -> list[Any] | None:
        # An operator that WebGPU lacks would run on the CPU without a word, with copies there and back.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_provider_for_devices(_gpus()[:1], {})
        return None


@cache
def _gpus() -> list[Any]:
    """ONNX Runtime's handles of the GPUs that the plug-in can use; it is loaded once in a process.

    Raises:
        UserError: it cannot be loaded.
    """
    onnxruntime, plugin = map(importlib.import_module, ("onnxruntime", "onnxruntime_ep_webgpu"))
    try:
        onnxruntime.register_execution_provider_library("rtseg-webgpu", plugin.get_library_path())
    except Exception as error:  # the engine's own classes
        raise UserError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load its plug-in for WebGPU: {first_line(error)}"
        ) from None
    return [found for found in onnxruntime.get_ep_devices() if found.ep_name == plugin.get_ep_name()]
