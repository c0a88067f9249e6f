"""8 bits for OpenVINO: NNCF's quantisation with accuracy control."""

import contextlib
import importlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.openvino_file import save_openvino
from rtseg.deploy.exports.scores import MOST_LAYERS, RANKED_WITH, Images, Quantized, Run, miou_of
from rtseg.deploy.exports.seal import BLANK, seal
from rtseg.deploy.openvino_core import core, quantization
from rtseg.errors import require

_LAYERS = ("Convolution", "MatMul", "FullyConnected")  # of those that OpenVINO runs
_8_BITS = ("i8", "u8")


def quantize_openvino(model: bytes, training: Images, validation: Images, max_drop: float) -> Quantized:
    """An ONNX graph as OpenVINO's, with the layers in 8 bits that can be as far as the mIoU allows.

    Args:
        model: takes the two's images, (1, H, W, 3) uint8, gives (1, h, w, K) logits.
        max_drop: see `Int8`.

    Raises:
        UserError: OpenVINO or NNCF is missing.
    """
    for library in ("openvino", "nncf"):
        require(library, "openvino")
    nncf = importlib.import_module("nncf")
    plain = core().read_model(model, b"")
    with _quiet(nncf):
        quantized = nncf.quantize_with_accuracy_control(
            plain,
            nncf.Dataset(training.indices, training.image),
            nncf.Dataset(validation.indices, validation.image),
            lambda compiled, indices: miou_of(validation, _run(compiled), indices),
            max_drop=max_drop / 100,
            subset_size=len(training.indices),
            advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
                max_num_iterations=MOST_LAYERS, ranking_subset_size=RANKED_WITH, num_ranking_workers=1
            ),
            **quantization(nncf, plain),
        )
    hints = {"fp32": "f32"}
    if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        hints["bf16"] = "bf16"
    compiled = {name: _compile(plain, hint) for name, hint in hints.items()}
    compiled |= {f"int8, rest {name}": _compile(quantized, hint) for name, hint in hints.items()}

    def content(description: Description) -> tuple[bytes, bytes]:
        xml, beside = save_openvino(quantized, description.text(BLANK))
        return seal(xml, beside), beside

    return Quantized(
        "OpenVINO",
        {name: _run(graph) for name, graph in compiled.items()},
        _in_float(compiled["int8, rest fp32"]),
        "`openvino` runs the rest in fp32, `openvino:bf16` in bf16",
        content,
    )


def _compile(model: Any, hint: str) -> Any:
    """A model compiled for this processor; what is not in 8 bits is computed at the precision of the hint."""
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    return core().compile_model(model, "CPU", settings)


def _run(compiled: Any) -> Run:
    request = compiled.create_infer_request()

    def run(image: np.ndarray) -> np.ndarray:
        logits: np.ndarray = request.infer([image], share_inputs=True, share_outputs=True)[0]
        return logits

    return run


def _in_float(compiled: Any) -> str:
    """How many of the layers that could be in 8 bits are not, as the processor computes them."""
    described = [node.get_rt_info() for node in compiled.get_runtime_model().get_ops()]
    layers = [str(of["runtimePrecision"].astype(str)) for of in described if of["layerType"].astype(str) in _LAYERS]
    return f"{sum(kind not in _8_BITS for kind in layers)} of {len(layers)} convolutions and matrix products"


@contextlib.contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Without NNCF's messages; its bars go to stderr, since stdout is for results."""
    nncf.set_log_level(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):
        yield
