"""OpenVINO."""

import contextlib
import importlib.metadata
import sys
from typing import Any

import torch
from torch import Tensor

from rtseg.deploy.engines.base import Shape, first_line, register_engine
from rtseg.deploy.engines.graph_engine import GraphEngine
from rtseg.deploy.engines.openvino_core import core
from rtseg.deploy.export import OnnxGraph
from rtseg.errors import UserError, require


@register_engine
class OpenVINO(GraphEngine):
    """Intel's engine, which also runs on other x86 and on ARM processors.

    int8: weights and feature maps of convolutions, quantised after training by NNCF with ranges from `calibration`.
    """

    backend = "openvino"
    precisions = ("fp32", "bf16", "fp16", "int8")
    device_types = ("cpu",)

    @classmethod
    def check(cls, precision: str, device: torch.device) -> None:
        super().check(precision, device)
        require("openvino", "openvino")
        if precision == "int8":
            require("nncf", "openvino")
        can = core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision in ("bf16", "fp16") and precision.upper() not in can:
            raise UserError(
                f"this processor has no {precision} instructions; OpenVINO finds {', '.join(can)}. Choose openvino:fp32"
            )

    def __init__(
        self, precision: str, shape: Shape, device: torch.device, graph: OnnxGraph, calibration: Tensor | None
    ) -> None:
        engine = require("openvino", "openvino")
        try:
            model = core().read_model(graph.model, b"")
        except Exception as error:  # RuntimeError, or one of the engine's own
            raise UserError(f"OpenVINO cannot read {graph.name}: {first_line(error)}") from None
        if precision == "int8":
            model = _quantize(model, calibration, shape[0])
        hint = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "bf16" if _has_bf16() else "f32"}[precision]
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        try:
            compiled = core().compile_model(model, "CPU", settings)
        except Exception as error:
            raise UserError(f"OpenVINO cannot compile {graph.name}: {first_line(error)}") from None
        self._request = compiled.create_infer_request()
        super().__init__(
            precision, shape, device,
            openvino=engine.__version__.split("-")[0],
            **({"nncf": importlib.metadata.version("nncf")} if precision == "int8" else {}),
            float_part=compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
        )  # fmt: skip

    def _infer(self, pictures: Tensor) -> Tensor:
        # Shared: neither pictures nor logits are copied, the logits lie in the engine's memory.
        result = self._request.infer([pictures.numpy()], share_inputs=True, share_outputs=True)
        return torch.from_numpy(result[0])


def _has_bf16() -> bool:
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _quantize(model: Any, calibration: Tensor | None, batch: int) -> Any:
    if calibration is None:
        raise UserError("int8 takes its ranges from pictures: give some with --image")
    nncf = require("nncf", "openvino")
    many = calibration.repeat(-(-batch // len(calibration)), 1, 1, 1)
    pictures = [pictures.numpy() for pictures in many.split(batch) if len(pictures) == batch]
    with contextlib.redirect_stdout(sys.stderr):  # its progress; stdout is for results
        return nncf.quantize(model, nncf.Dataset(pictures), subset_size=len(pictures))
