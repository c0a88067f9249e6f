"""OpenVINO."""

import contextlib
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from rtseg.deploy.device import available_cores
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.precision import BF16, FP16, FP32, INT8, by_name
from rtseg.deploy.engines.registry import register_engine
from rtseg.deploy.graph import Graph, OpenShape
from rtseg.deploy.openvino_core import core, quantization
from rtseg.errors import UserError, first_line

# A property that OpenVINO takes and does not list (2026.4): the kernels that an open-size model keeps, for images of
# sizes that come again. 128 are those of two or three sizes; its own 5000 hold those of 150 sizes, of 4 MB each.
_CAPACITY, _KERNELS = "CPU_RUNTIME_CACHE_CAPACITY", 128


@register_engine("openvino")
class OpenVINO(GraphEngine):
    """OpenVINO, then `class_map`. int8 is quantised by NNCF with ranges from training images (`--data`), else from the
    images that it is compared on.

    Intel's engine also runs on other x86 and on ARM processors. int8: weights and feature maps of convolutions,
    quantised after training. The row says which images it took.
    """

    precisions = by_name(FP32, BF16, FP16, INT8)
    formats = ("onnx", "xml")
    devices = ("cpu",)
    open_sizes = True
    any_output = True
    libraries: ClassVar[Mapping[str, str]] = {"openvino": "rtseg[openvino]", "nncf": "rtseg[openvino]"}

    @classmethod
    def preferred(cls, device: torch.device) -> Mapping[str, int]:
        return {"bf16": 4, "fp32": 2}

    @classmethod
    def measured(cls, device: torch.device) -> Sequence[str]:
        return ["fp32", "bf16"]

    @classmethod
    def needs(cls, precision: str) -> Sequence[str]:
        return ["openvino", "nncf"] if precision == "int8" else ["openvino"]

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        can = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision in ("bf16", "fp16") and precision.upper() not in can:
            raise UserError(
                f"this processor has no {precision} instructions; OpenVINO finds {', '.join(can)}. Choose openvino:fp32"
            )

    @classmethod
    def create(
        cls, source: Graph, precision: str, shape: OpenShape, device: torch.device, calibration: Tensor | None = None
    ) -> Self:
        return cls(precision, shape, device, source, calibration)._of(source)

    def __init__(
        self, precision: str, shape: OpenShape, device: torch.device, graph: Graph, calibration: Tensor | None
    ) -> None:
        try:
            model = core().read_model(graph.model, graph.beside)
        except Exception as error:  # RuntimeError, or one of the engine's own
            raise UserError(f"OpenVINO cannot read {graph.name}: {first_line(error)}") from None
        if shape != graph.shape:
            model.reshape([*(-1 if side is None else side for side in shape), graph.card.in_channels])
        quantized = any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())
        if quantized and None in shape:  # it may end the process on processors with AMX (OpenVINO 2026)
            raise UserError(f"OpenVINO's 8 bits take one size, and {graph.name} takes any: choose onnxruntime")
        if calibration is not None:
            if quantized:
                raise UserError(f"{graph.name} is in 8 bits already: run it with 'openvino'")
            model = _quantize(model, calibration, shape[0] or 1)
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "bf16" if _has_bf16() else "f32"}[precision]
        threads = torch.get_num_threads()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            # Bound to cores, two engines of one thread each would share the first core, and leave the second idle.
            "ENABLE_CPU_PINNING": threads >= available_cores(),
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            _CAPACITY: _KERNELS,
        }
        compiled = _compile(model, settings, graph.name)
        self._request = compiled.create_infer_request()
        float_part = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        super().__init__(precision, shape, device, float_part=float_part)

    def infer(self, images: Tensor) -> Tensor:
        # Shared: neither images nor logits are copied, the logits lie in the engine's memory.
        result = self._request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0])

    def outputs(self, images: Tensor) -> Sequence[Tensor]:
        result = self._request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return [torch.from_numpy(result[i]) for i in range(len(result))]


def _compile(model: Any, settings: Mapping[str, Any], name: str) -> Any:
    """Raises: UserError where OpenVINO refuses the model called `name`."""
    try:
        return core().compile_model(model, "CPU", settings)
    except Exception as error:  # RuntimeError, or one of the engine's own
        if _CAPACITY in settings and _CAPACITY in str(error):  # another version: memory then grows with new sizes
            return _compile(model, {key: value for key, value in settings.items() if key != _CAPACITY}, name)
        raise UserError(f"OpenVINO cannot compile {name}: {first_line(error)}") from None


def _has_bf16() -> bool:
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _quantize(model: Any, calibration: Tensor, batch: int) -> Any:
    nncf = importlib.import_module("nncf")
    many = calibration.repeat(-(-batch // len(calibration)), 1, 1, 1)
    images = [images.numpy() for images in many.split(batch) if len(images) == batch]
    with contextlib.redirect_stdout(sys.stderr):  # its progress; stdout is for results
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images), **quantization(nncf, model))
