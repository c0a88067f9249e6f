"""ONNX Runtime."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import FP32, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.graph import Graph, OpenShape
from rtseg.errors import UserError, first_line


@register_engine("onnxruntime")
class OnnxRuntime(GraphEngine):
    """ONNX Runtime, then `class_map`. On a GPU its CUDA provider: not yet run on a GPU."""

    precisions = by_name(FP32)
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    libraries: ClassVar[Mapping[str, str]] = {"onnxruntime": "rtseg[onnx]"}
    is_reference = True
    open_sizes = True
    any_output = True

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {"fp32": 1} if device.type == "cpu" else {}

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        if device.type != "cuda":
            return
        onnxruntime = importlib.import_module("onnxruntime")
        if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
            raise UserError(
                f"this ONNX Runtime {onnxruntime.__version__} has no CUDA: pip uninstall onnxruntime; "
                "pip install onnxruntime-gpu"
            )

    def __init__(self, precision: str, shape: OpenShape, device: torch.device, graph: Graph) -> None:
        onnxruntime = importlib.import_module("onnxruntime")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            providers = self._providers(options, device)
            self._session = onnxruntime.InferenceSession(graph.model, options, providers=providers)
        except Exception as error:  # the engine's own classes, one for every kind of damage
            raise UserError(f"ONNX Runtime cannot run {graph.name}: {first_line(error)}") from None
        self._input, self._output = self._session.get_inputs()[0].name, self._session.get_outputs()[0].name
        (provider, *_) = self._session.get_providers()
        if device.type == "cuda" and provider != "CUDAExecutionProvider":  # it falls back to the CPU
            raise UserError(
                f"ONNX Runtime {onnxruntime.__version__} cannot start CUDA here: install the CUDA and cuDNN that it "
                "was built for, or leave this engine out"
            )
        super().__init__(precision, shape, device, provider=provider)

    @staticmethod
    def _providers(options: Any, device: torch.device) -> list[Any] | None:
        """Where the session runs, for its constructor; None where its `options` say so."""
        if device.type == "cuda":
            return [("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0})]
        return ["CPUExecutionProvider"]

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        return [torch.from_numpy(output) for output in self._session.run(None, {self._input: images.cpu().numpy()})]

    def infer(self, images: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return torch.from_numpy(self._session.run(None, {self._input: images.numpy()})[0])
        binding = self._session.io_binding()
        images = images.contiguous()
        where = ("cuda", self.device.index or 0)
        binding.bind_input(
            self._input, *where, str(images.dtype).removeprefix("torch."), tuple(images.shape), images.data_ptr()
        )
        binding.bind_output(self._output, *where)
        torch.cuda.current_stream(self.device).synchronize()  # the engine works on a stream of its own
        self._session.run_with_iobinding(binding)
        return torch.from_dlpack(binding.get_outputs()[0]._ortvalue)
