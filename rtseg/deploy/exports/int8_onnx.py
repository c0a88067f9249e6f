"""8 bits for ONNX Runtime: its own quantiser writes the nodes (QDQ), and layers that hurt return to float.

NNCF's nodes make ONNX Runtime slower: it puts none behind a convolution, and ONNX Runtime then computes in float.
"""

import importlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track

from rtseg.deploy.exports.description import Description
from rtseg.deploy.exports.onnx_file import build_onnx
from rtseg.deploy.exports.program import INPUT, quiet
from rtseg.deploy.exports.scores import MOST_LAYERS, RANKED_WITH, Images, Quantized, Run, miou_of
from rtseg.errors import require
from rtseg.terminal import Console, say


def quantize_onnx(model: bytes, training: Images, validation: Images, max_drop: float) -> Quantized:
    """An ONNX graph with its convolutions in 8 bits, as far as the mIoU allows.

    Args:
        model: takes the two's images, (1, H, W, 3) uint8, gives (1, h, w, K) logits.
        max_drop: see `Int8`.

    Raises:
        UserError: ONNX or ONNX Runtime is missing.
    """
    for library in ("onnx", "onnxruntime"):
        require(library, "onnx")
    with tempfile.TemporaryDirectory() as folder:
        graph = _Convolutions(model, training, Path(folder))
        plain = _run(model)
        best, best_each = miou_of(validation, plain, validation.indices)
        # ONNX Runtime would run the first in another layout, and with it the image's normalisation, which is slow.
        left = graph.names[:1]
        quantized = graph.quantized(left)
        miou, each = miou_of(validation, _run(quantized), validation.indices)
        if best - miou > max_drop / 100:
            lost = np.subtract(best_each, each)
            worst = [validation.indices[i] for i in np.argsort(-lost)[:RANKED_WITH]]
            for name in graph.ranked(left, validation, worst)[:MOST_LAYERS]:
                left = [*left, name]
                quantized = graph.quantized(left)
                miou, _ = miou_of(validation, _run(quantized), validation.indices)
                if best - miou <= max_drop / 100:
                    break
    proto = require("onnx", "onnx").load_model_from_string(quantized)
    proto.ClearField("metadata_props")

    def content(description: Description) -> tuple[bytes, bytes]:
        return build_onnx(proto, description), b""

    return Quantized(
        "ONNX Runtime",
        {"fp32": plain, "int8": _run(quantized)},
        f"{len(left)} of {len(graph.names)} convolutions, and all other layers",
        "`onnxruntime` runs it",
        content,
    )


class _Convolutions:
    """A graph whose convolutions can be quantised, but for some. The ranges are taken from images once."""

    def __init__(self, model: bytes, images: Images, folder: Path) -> None:
        nodes = require("onnx", "onnx").load_model_from_string(model).graph.node
        self.names: list[str] = [node.name for node in nodes if node.op_type == "Conv"]
        self._file, self._ranges, self._written = (folder / name for name in ("net.onnx", "ranges.json", "int8.onnx"))
        self._file.write_bytes(model)
        self._images = images

    def quantized(self, left: Sequence[str]) -> bytes:
        """The graph with the convolutions in 8 bits, but for those that are left in float."""
        library = importlib.import_module("onnxruntime.quantization")
        with quiet():
            library.quantize_static(
                self._file,
                self._written,
                _Reader(self._images),
                op_types_to_quantize=["Conv"],
                nodes_to_exclude=list(left),
                per_channel=True,
                activation_type=library.QuantType.QUInt8,  # ONNX Runtime is slower with signed feature maps
                weight_type=library.QuantType.QInt8,
                extra_options={"CalibMovingAverage": True},  # the mean of the images' ranges: it loses less
                calibration_cache_path=self._ranges,
            )
        return self._written.read_bytes()

    def ranked(self, left: Sequence[str], images: Images, indices: Sequence[int]) -> list[str]:
        """The convolutions in 8 bits, first the one that gains most mIoU where it is in float, too."""
        say(f"int8: too much is lost; ranking {len(self.names) - len(left)} convolutions", stderr=True)
        others = [name for name in self.names if name not in left]
        console = Console(stderr=True)
        gained = {
            name: miou_of(images, _run(self.quantized([*left, name])), indices)[0]
            for name in track(others, "int8: ranking", console=console, disable=not console.is_terminal)
        }
        return sorted(others, key=lambda name: -gained[name])


class _Reader:
    """Images as the quantiser asks for them."""

    def __init__(self, images: Images) -> None:
        self._left: Iterator[np.ndarray] = map(images.image, images.indices)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image}


def _run(model: bytes) -> Run:
    onnxruntime = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run(None, {INPUT: image})[0]
        return logits

    return run
